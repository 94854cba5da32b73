// Runs the conformance list with go-mssqldb. Usage: go-client CLIENT JOB.json
//
// Knows no expectation: prints one line of JSON for each case with what the client gave, in the text forms of README.md.
package main

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/golang-sql/civil"
	"github.com/golang-sql/sqlexp"
	mssql "github.com/microsoft/go-mssqldb"
)

const cancelAfter = time.Second

type parameter struct {
	Type  string
	Value *string
}

type column struct{ Name, Type string }

type step struct {
	Do, On, Sql, Table            string
	Isolation, Password, Database *string
	Parameters                    [][]parameter
	Columns                       []column
	Load                          [][]*string
}

type job struct {
	Host, User, Password, Database, Mode, Authority string
	Port                                            int
	Cases                                           []struct {
		Case  string
		Steps []step
	}
}

type failure struct {
	Number  *int32 `json:"number"`
	Message string `json:"message"`
}

type outcome struct {
	Results [][][]*string `json:"results"`
	Counts  []*int64      `json:"counts"`
	Error   *failure      `json:"error"`
}

func failed(err error) outcome {
	var known mssql.Error
	result := outcome{Results: [][][]*string{}, Counts: []*int64{}}
	if errors.As(err, &known) {
		first := known
		if len(known.All) > 0 {
			first = known.All[0]
		}
		result.Error = &failure{&first.Number, first.Message}
	} else {
		result.Error = &failure{nil, err.Error()}
	}
	return result
}

// form gives a value's text form.
func form(value any, declared string) *string {
	var text string
	switch v := value.(type) {
	case nil:
		return nil
	case bool:
		text = map[bool]string{false: "0", true: "1"}[v]
	case int64:
		text = strconv.FormatInt(v, 10)
	case float64:
		text = strconv.FormatFloat(v, 'g', -1, 64)
	case float32:
		text = strconv.FormatFloat(float64(v), 'g', -1, 32)
	case string:
		text = v
	case []byte:
		switch declared {
		case "DECIMAL", "MONEY", "SMALLMONEY":
			text = string(v)
		case "UNIQUEIDENTIFIER":
			var id mssql.UniqueIdentifier
			_ = id.Scan(v)
			text = id.String()
		default:
			text = "0x" + strings.ToUpper(hex.EncodeToString(v))
		}
	case time.Time:
		switch declared {
		case "DATE":
			text = v.Format("2006-01-02")
		case "TIME":
			text = v.Format("15:04:05.0000000")
		case "DATETIMEOFFSET":
			text = v.Format("2006-01-02 15:04:05.0000000 -07:00")
		default:
			text = v.Format("2006-01-02 15:04:05.0000000")
		}
	default:
		text = fmt.Sprint(v)
	}
	return &text
}

func moment(layout, text string) time.Time {
	value, err := time.Parse(layout, text)
	if err != nil {
		panic(err)
	}
	return value
}

// native gives the value that a user would bind for a parameter's text form.
func native(p parameter) any {
	if p.Value == nil {
		return nil
	}
	text := *p.Value
	family, length, _ := strings.Cut(p.Type, "(")
	switch family {
	case "bit":
		return text == "1"
	case "tinyint", "smallint", "int", "bigint":
		value, _ := strconv.ParseInt(text, 10, 64)
		return value
	case "float", "real":
		value, _ := strconv.ParseFloat(text, 64)
		return value
	case "binary", "varbinary", "image":
		value, _ := hex.DecodeString(text[2:])
		return value
	case "date":
		return civil.DateOf(moment("2006-01-02", text))
	case "time":
		return civil.TimeOf(moment("15:04:05.9999999", text))
	case "datetime":
		return mssql.DateTime1(moment("2006-01-02 15:04:05.9999999", text))
	case "datetime2", "smalldatetime":
		return civil.DateTimeOf(moment("2006-01-02 15:04:05.9999999", text))
	case "datetimeoffset":
		return mssql.DateTimeOffset(moment("2006-01-02 15:04:05.9999999 -07:00", text))
	case "char", "varchar", "text":
		if length == "max)" {
			return mssql.VarCharMax(text)
		}
		return mssql.VarChar(text)
	case "uniqueidentifier":
		var id mssql.UniqueIdentifier
		_ = id.Scan(text)
		return id
	}
	return text
}

func open(j *job, s *step) (*sql.Conn, error) {
	query := url.Values{}
	query.Set("database", j.Database)
	query.Set("encrypt", map[string]string{"plain": "disable", "tls": "true", "strict": "strict"}[j.Mode])
	if j.Mode != "plain" {
		query.Set("certificate", j.Authority)
	}
	password := j.Password
	if s != nil && s.Password != nil {
		password = *s.Password
	}
	if s != nil && s.Database != nil {
		query.Set("database", *s.Database)
	}
	address := url.URL{Scheme: "sqlserver", User: url.UserPassword(j.User, password),
		Host: fmt.Sprintf("%s:%d", j.Host, j.Port), RawQuery: query.Encode()}
	db, err := sql.Open("sqlserver", address.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db.Conn(context.Background())
}

func arguments(parameters []parameter) []any {
	var list []any
	for at, p := range parameters {
		list = append(list, sql.Named(fmt.Sprintf("p%d", at+1), native(p)))
	}
	return list
}

// run runs a batch and gives all that comes of it, in order.
func run(ctx context.Context, conn *sql.Conn, text string, list []any) outcome {
	result := outcome{Results: [][][]*string{}, Counts: []*int64{}}
	messages := &sqlexp.ReturnMessage{}
	rows, err := conn.QueryContext(ctx, text, append([]any{messages}, list...)...)
	if err != nil {
		return failed(err)
	}
	defer rows.Close()
	inResult := false
	note := func(err error) {
		if result.Error == nil && err != nil {
			result.Error = failed(err).Error
		}
	}
	for active := true; active; {
		switch message := messages.Message(ctx).(type) {
		case sqlexp.MsgError:
			note(message.Error)
		case sqlexp.MsgRowsAffected:
			if !inResult {
				result.Counts = append(result.Counts, &message.Count)
			}
			inResult = false
		case sqlexp.MsgNext:
			found, err := read(rows)
			note(err)
			result.Results = append(result.Results, found)
			inResult = true
		case sqlexp.MsgNextResultSet:
			active = rows.NextResultSet()
		}
	}
	note(rows.Err())
	note(ctx.Err())
	return result
}

func read(rows *sql.Rows) ([][]*string, error) {
	found := [][]*string{}
	types, err := rows.ColumnTypes()
	if err != nil {
		return found, err
	}
	for rows.Next() {
		values := make([]any, len(types))
		places := make([]any, len(types))
		for at := range values {
			places[at] = &values[at]
		}
		if err := rows.Scan(places...); err != nil {
			return found, err
		}
		row := make([]*string, len(types))
		for at, value := range values {
			row[at] = form(value, types[at].DatabaseTypeName())
		}
		found = append(found, row)
	}
	return found, nil
}

// prepared prepares once; statements without results are run for their counts.
func prepared(conn *sql.Conn, s *step) outcome {
	all := outcome{Results: [][][]*string{}, Counts: []*int64{}}
	statement, err := conn.PrepareContext(context.Background(), s.Sql)
	if err != nil {
		return failed(err)
	}
	defer statement.Close()
	for _, parameters := range s.Parameters {
		if strings.HasPrefix(s.Sql, "SELECT") {
			rows, err := statement.Query(arguments(parameters)...)
			if err != nil {
				all.Error = failed(err).Error
				continue
			}
			found, err := read(rows)
			if err != nil {
				all.Error = failed(err).Error
			}
			rows.Close()
			all.Results = append(all.Results, found)
			continue
		}
		done, err := statement.Exec(arguments(parameters)...)
		if err != nil {
			all.Error = failed(err).Error
			continue
		}
		count, _ := done.RowsAffected()
		all.Counts = append(all.Counts, &count)
	}
	return all
}

func bulk(conn *sql.Conn, s *step) outcome {
	names := make([]string, len(s.Columns))
	for at, column := range s.Columns {
		names[at] = column.Name
	}
	statement, err := conn.PrepareContext(context.Background(), mssql.CopyIn(s.Table, mssql.BulkOptions{}, names...))
	if err != nil {
		return failed(err)
	}
	defer statement.Close()
	for _, row := range s.Load {
		values := make([]any, len(row))
		for at, cell := range row {
			values[at] = native(parameter{s.Columns[at].Type, cell})
			if date, is := values[at].(civil.Date); is {
				values[at] = date.In(time.UTC)
			}
		}
		if _, err := statement.Exec(values...); err != nil {
			return failed(err)
		}
	}
	done, err := statement.Exec()
	if err != nil {
		return failed(err)
	}
	count, _ := done.RowsAffected()
	return outcome{Results: [][][]*string{}, Counts: []*int64{&count}}
}

// table gives the rows as structs, from whose types the client takes the columns'.
func table(conn *sql.Conn, s *step) outcome {
	fields := make([]reflect.StructField, len(s.Columns))
	for at, column := range s.Columns {
		kind := reflect.TypeOf(sql.NullString{})
		if column.Type == "int" {
			kind = reflect.TypeOf(sql.NullInt64{})
		}
		fields[at] = reflect.StructField{Name: fmt.Sprintf("Column%d", at), Type: kind}
	}
	rows := reflect.MakeSlice(reflect.SliceOf(reflect.StructOf(fields)), len(s.Load), len(s.Load))
	for number, row := range s.Load {
		for at, cell := range row {
			if cell == nil {
				continue
			}
			target := rows.Index(number).Field(at).Addr().Interface().(sql.Scanner)
			if err := target.Scan(*cell); err != nil {
				return failed(err)
			}
		}
	}
	value := mssql.TVP{TypeName: s.Table, Value: rows.Interface()}
	return run(context.Background(), conn, s.Sql, []any{sql.Named("p1", value)})
}

func cancel(conn *sql.Conn, text string) outcome {
	// Not a deadline: go-mssqldb takes its error for one of the network, and the connection for lost.
	ctx, stop := context.WithCancel(context.Background())
	defer time.AfterFunc(cancelAfter, stop).Stop()
	rows, err := conn.QueryContext(ctx, text)
	if err == nil {
		for rows.Next() || rows.NextResultSet() {
		}
		err = rows.Err()
		rows.Close()
	}
	if err == nil {
		return failed(errors.New("the statement came to its end"))
	}
	return run(context.Background(), conn, "SELECT 'alive'", nil)
}

type session struct {
	conn *sql.Conn
	tx   *sql.Tx
	wait chan outcome
}

func (s *session) step(st *step) outcome {
	ctx := context.Background()
	end := func(err error) outcome {
		s.tx = nil
		if err != nil {
			return failed(err)
		}
		return outcome{Results: [][][]*string{}, Counts: []*int64{}}
	}
	switch st.Do {
	case "sql":
		return run(ctx, s.conn, st.Sql, nil)
	case "parameters":
		return run(ctx, s.conn, st.Sql, arguments(st.Parameters[0]))
	case "prepare":
		return prepared(s.conn, st)
	case "bulk":
		return bulk(s.conn, st)
	case "table":
		return table(s.conn, st)
	case "cancel":
		return cancel(s.conn, st.Sql)
	case "commit":
		return end(s.tx.Commit())
	case "rollback":
		return end(s.tx.Rollback())
	case "begin":
		options := &sql.TxOptions{}
		if st.Isolation != nil {
			levels := map[string]sql.IsolationLevel{"SERIALIZABLE": sql.LevelSerializable, "SNAPSHOT": sql.LevelSnapshot}
			options.Isolation = levels[*st.Isolation]
		}
		tx, err := s.conn.BeginTx(ctx, options)
		result := end(err)
		s.tx = tx
		return result
	case "start":
		s.wait = make(chan outcome, 1)
		go func() { s.wait <- run(ctx, s.conn, st.Sql, nil) }()
		return end(nil)
	case "finish":
		return <-s.wait
	}
	return failed(fmt.Errorf("go-mssqldb cannot %s", st.Do))
}

func runCase(j *job, steps []step) []outcome {
	sessions := map[string]*session{}
	outcomes := []outcome{}
	for at := range steps {
		st := &steps[at]
		if st.Do == "connect" {
			conn, err := open(j, st)
			if err != nil {
				outcomes = append(outcomes, failed(err))
				continue
			}
			outcomes = append(outcomes, run(context.Background(), conn, st.Sql, nil))
			conn.Close()
			continue
		}
		if sessions[st.On] == nil {
			conn, err := open(j, nil)
			if err != nil {
				outcomes = append(outcomes, failed(err))
				continue
			}
			sessions[st.On] = &session{conn: conn}
		}
		outcomes = append(outcomes, sessions[st.On].step(st))
	}
	for _, s := range sessions {
		// The connection is not given back to its pool, which would reset it for the next case.
		_ = s.conn.Raw(func(driver any) error { return driver.(*mssql.Conn).Close() })
	}
	return outcomes
}

func main() {
	text, err := os.ReadFile(os.Args[2])
	if err != nil {
		panic(err)
	}
	var j job
	if err := json.Unmarshal(text, &j); err != nil {
		panic(err)
	}
	for _, c := range j.Cases {
		line, _ := json.Marshal(map[string]any{"case": c.Case, "steps": runCase(&j, c.Steps)})
		fmt.Println(string(line))
	}
}
