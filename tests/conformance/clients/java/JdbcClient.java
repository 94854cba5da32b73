import com.google.gson.*;
import com.microsoft.sqlserver.jdbc.*;
import java.math.BigDecimal;
import java.nio.file.*;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.sql.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.regex.*;
import microsoft.sql.DateTimeOffset;

/**
 * Runs the conformance list with mssql-jdbc. Usage: JdbcClient CLIENT JOB.json
 *
 * <p>Knows no expectation: prints one line of JSON for each case with what the client gave, in the text forms of README.md.
 */
public final class JdbcClient {
    private static final int CANCEL_AFTER_SECONDS = 1;
    private static final String STORE_PASSWORD = "conformance";
    private static JsonObject job;

    private final Map<String, Connection> sessions = new HashMap<>();
    private final Map<String, Future<JsonObject>> running = new HashMap<>();

    public static void main(String[] arguments) throws Exception {
        job = JsonParser.parseString(Files.readString(Path.of(arguments[1]))).getAsJsonObject();
        TimeZone.setDefault(TimeZone.getTimeZone("UTC"));
        Gson gson = new GsonBuilder().serializeNulls().create();
        for (JsonElement one : job.getAsJsonArray("cases")) {
            JsonObject line = new JsonObject();
            line.add("case", one.getAsJsonObject().get("case"));
            line.add("steps", new JdbcClient().run(one.getAsJsonObject().getAsJsonArray("steps")));
            System.out.println(gson.toJson(line));
        }
        System.exit(0);
    }

    private JsonArray run(JsonArray steps) {
        JsonArray outcomes = new JsonArray();
        for (JsonElement step : steps) {
            try {
                outcomes.add(step(step.getAsJsonObject()));
            } catch (Exception error) {
                outcomes.add(failed(empty(), error));
            }
        }
        for (Connection connection : sessions.values()) {
            try {
                connection.close();
            } catch (SQLException ignored) {
                // An error has closed it already.
            }
        }
        return outcomes;
    }

    private static Connection connect(String password, String database) throws SQLException {
        SQLServerDataSource source = new SQLServerDataSource();
        source.setServerName(job.get("host").getAsString());
        source.setPortNumber(job.get("port").getAsInt());
        source.setUser(job.get("user").getAsString());
        source.setPassword(password != null ? password : job.get("password").getAsString());
        source.setDatabaseName(database != null ? database : job.get("database").getAsString());
        source.setConnectRetryCount(0);
        source.setSendTimeAsDatetime(false);
        switch (job.get("mode").getAsString()) {
            case "plain" -> source.setEncrypt("false");
            case "tls" -> {
                source.setEncrypt("true");
                source.setTrustStore(trustStore());
                source.setTrustStorePassword(STORE_PASSWORD);
            }
            default -> {
                source.setEncrypt("strict");
                source.setServerCertificate(job.get("certificate").getAsString());
            }
        }
        return source.getConnection();
    }

    /** A store that trusts the authority alone, in a file of its own. */
    private static String trustStore() throws SQLException {
        try (java.io.InputStream pem = Files.newInputStream(Path.of(job.get("authority").getAsString()))) {
            KeyStore store = KeyStore.getInstance("PKCS12");
            store.load(null, null);
            store.setCertificateEntry("authority", CertificateFactory.getInstance("X.509").generateCertificate(pem));
            Path file = Path.of(job.get("authority").getAsString() + ".p12");
            try (java.io.OutputStream out = Files.newOutputStream(file)) {
                store.store(out, STORE_PASSWORD.toCharArray());
            }
            return file.toString();
        } catch (java.io.IOException | java.security.GeneralSecurityException error) {
            throw new SQLException(error);
        }
    }

    private Connection session(String name) throws SQLException {
        Connection connection = sessions.get(name);
        if (connection == null) {
            connection = connect(null, null);
            sessions.put(name, connection);
        }
        return connection;
    }

    private static String text(JsonObject step, String key) {
        JsonElement value = step.get(key);
        return value == null || value.isJsonNull() ? null : value.getAsString();
    }

    private JsonObject step(JsonObject step) throws Exception {
        String act = text(step, "do");
        String on = text(step, "on");
        String sql = text(step, "sql");
        if (act.equals("connect")) {
            try (Connection connection = connect(text(step, "password"), text(step, "database"))) {
                return batch(connection, sql);
            }
        }
        if (act.equals("finish")) {
            return running.remove(on).get();
        }
        Connection connection = session(on);
        switch (act) {
            case "sql":
                return batch(connection, sql);
            case "parameters":
            case "prepare":
                return prepared(connection, sql, step.getAsJsonArray("parameters"));
            case "begin":
                String isolation = text(step, "isolation");
                if (isolation != null) {
                    connection.setTransactionIsolation(isolation.equals("SNAPSHOT")
                            ? SQLServerConnection.TRANSACTION_SNAPSHOT : Connection.TRANSACTION_SERIALIZABLE);
                }
                connection.setAutoCommit(false);
                return empty();
            case "commit":
                connection.commit();
                connection.setAutoCommit(true);
                return empty();
            case "rollback":
                connection.rollback();
                connection.setAutoCommit(true);
                return empty();
            case "bulk":
                return bulk(connection, step);
            case "cancel":
                return cancel(connection, sql);
            case "table":
                return table(connection, step);
            case "start":
                running.put(on, CompletableFuture.supplyAsync(() -> batch(connection, sql)));
                return empty();
            default:
                throw new IllegalArgumentException("mssql-jdbc cannot " + act);
        }
    }

    private static JsonObject empty() {
        JsonObject outcome = new JsonObject();
        outcome.add("results", new JsonArray());
        outcome.add("counts", new JsonArray());
        return outcome;
    }

    private static JsonObject failed(JsonObject outcome, Throwable error) {
        if (!outcome.has("error")) {
            JsonObject failure = new JsonObject();
            int number = error instanceof SQLException known ? known.getErrorCode() : 0;
            failure.add("number", number == 0 ? JsonNull.INSTANCE : new JsonPrimitive(number));
            failure.addProperty("message", String.valueOf(error.getMessage()));
            outcome.add("error", failure);
        }
        return outcome;
    }

    private static JsonObject batch(Connection connection, String sql) {
        JsonObject outcome = empty();
        try (Statement statement = connection.createStatement()) {
            drain(statement, statement.execute(sql), outcome);
        } catch (SQLException error) {
            failed(outcome, error);
        }
        return outcome;
    }

    private static void drain(Statement statement, boolean isResult, JsonObject outcome) throws SQLException {
        while (true) {
            if (isResult) {
                outcome.getAsJsonArray("results").add(read(statement.getResultSet()));
            } else {
                int count = statement.getUpdateCount();
                if (count == -1) {
                    return;
                }
                outcome.getAsJsonArray("counts").add(count);
            }
            isResult = statement.getMoreResults();
        }
    }

    private static JsonArray read(ResultSet rows) throws SQLException {
        JsonArray found = new JsonArray();
        ResultSetMetaData columns = rows.getMetaData();
        while (rows.next()) {
            JsonArray row = new JsonArray();
            for (int at = 1; at <= columns.getColumnCount(); at++) {
                row.add(form(rows, at, columns.getColumnTypeName(at)));
            }
            found.add(row);
        }
        return found;
    }

    private static String form(ResultSet rows, int at, String type) throws SQLException {
        Object value = rows.getObject(at);
        if (value == null) {
            return null;
        }
        if (value instanceof Boolean bit) {
            return bit ? "1" : "0";
        }
        if (value instanceof BigDecimal number) {
            return number.toPlainString();
        }
        if (value instanceof byte[] bytes) {
            return "0x" + HexFormat.of().withUpperCase().formatHex(bytes);
        }
        if (type.equals("time")) {
            // java.sql.Time has whole seconds.
            return rows.getObject(at, java.time.LocalTime.class).format(
                    java.time.format.DateTimeFormatter.ofPattern("HH:mm:ss.nnnnnnnnn")).substring(0, 16);
        }
        if (value instanceof DateTimeOffset moment) {
            java.time.OffsetDateTime there = moment.getOffsetDateTime();
            return there.format(java.time.format.DateTimeFormatter.ofPattern("uuuu-MM-dd HH:mm:ss.nnnnnnnnn xxx"))
                    .replaceAll("(\\.\\d{7})\\d\\d", "$1");
        }
        return value.toString();
    }

    private static void bind(PreparedStatement statement, int at, JsonObject parameter) throws SQLException {
        SQLServerPreparedStatement to = (SQLServerPreparedStatement) statement;
        Matcher declared = Pattern.compile("(\\w+)(?:\\((.*)\\))?").matcher(text(parameter, "type"));
        declared.matches();
        String family = declared.group(1);
        String value = text(parameter, "value");
        String list = declared.group(2) == null ? "" : declared.group(2);
        int scale = list.matches("\\d+") ? Integer.parseInt(list) : 7;
        if (value == null) {
            to.setNull(at, sqlType(family));
            return;
        }
        switch (family) {
            case "bit" -> to.setObject(at, value.equals("1"), java.sql.Types.BIT);
            case "tinyint" -> to.setObject(at, Short.valueOf(value), java.sql.Types.TINYINT);
            case "smallint" -> to.setObject(at, Short.valueOf(value), java.sql.Types.SMALLINT);
            case "int" -> to.setObject(at, Integer.valueOf(value), java.sql.Types.INTEGER);
            case "bigint" -> to.setObject(at, Long.valueOf(value), java.sql.Types.BIGINT);
            case "decimal", "numeric" -> {
                BigDecimal number = new BigDecimal(value);
                to.setBigDecimal(at, number, Integer.parseInt(list.split(",")[0].trim()), number.scale());
            }
            case "money" -> to.setMoney(at, new BigDecimal(value));
            case "smallmoney" -> to.setSmallMoney(at, new BigDecimal(value));
            case "float" -> to.setDouble(at, Double.parseDouble(value));
            case "real" -> to.setFloat(at, Float.parseFloat(value));
            case "date" -> to.setObject(at, java.time.LocalDate.parse(value));
            case "time" -> to.setObject(at, java.time.LocalTime.parse(value), java.sql.Types.TIME, scale);
            case "datetime" -> to.setDateTime(at, Timestamp.valueOf(value));
            case "smalldatetime" -> to.setSmallDateTime(at, Timestamp.valueOf(value));
            case "datetime2" -> to.setTimestamp(at, Timestamp.valueOf(value), scale);
            case "datetimeoffset" -> {
                String iso = value.replaceFirst(" ", "T").replace(" ", "");
                to.setDateTimeOffset(at, DateTimeOffset.valueOf(java.time.OffsetDateTime.parse(iso)), scale);
            }
            case "uniqueidentifier" -> to.setUniqueIdentifier(at, value);
            case "binary", "varbinary", "image" -> to.setBytes(at, HexFormat.of().parseHex(value.substring(2)));
            case "char", "varchar", "text" -> to.setString(at, value);
            default -> to.setNString(at, value);
        }
    }

    private static int sqlType(String family) {
        return switch (family) {
            case "bit" -> java.sql.Types.BIT;
            case "tinyint" -> java.sql.Types.TINYINT;
            case "smallint" -> java.sql.Types.SMALLINT;
            case "int" -> java.sql.Types.INTEGER;
            case "bigint" -> java.sql.Types.BIGINT;
            case "decimal", "numeric" -> java.sql.Types.DECIMAL;
            case "money" -> microsoft.sql.Types.MONEY;
            case "smallmoney" -> microsoft.sql.Types.SMALLMONEY;
            case "float" -> java.sql.Types.DOUBLE;
            case "real" -> java.sql.Types.REAL;
            case "date" -> java.sql.Types.DATE;
            case "time" -> java.sql.Types.TIME;
            case "datetime" -> microsoft.sql.Types.DATETIME;
            case "smalldatetime" -> microsoft.sql.Types.SMALLDATETIME;
            case "datetime2" -> java.sql.Types.TIMESTAMP;
            case "datetimeoffset" -> microsoft.sql.Types.DATETIMEOFFSET;
            case "uniqueidentifier" -> microsoft.sql.Types.GUID;
            case "binary", "varbinary", "image" -> java.sql.Types.VARBINARY;
            case "char", "varchar", "text" -> java.sql.Types.VARCHAR;
            default -> java.sql.Types.NVARCHAR;
        };
    }

    private static JsonObject prepared(Connection connection, String sql, JsonArray runs) {
        JsonObject outcome = empty();
        List<Integer> order = new ArrayList<>();
        String marked = Pattern.compile("@p(\\d+)").matcher(sql).replaceAll(found -> {
            order.add(Integer.parseInt(found.group(1)) - 1);
            return "?";
        });
        try (PreparedStatement statement = connection.prepareStatement(marked)) {
            for (JsonElement run : runs) {
                try {
                    for (int at = 0; at < order.size(); at++) {
                        bind(statement, at + 1, run.getAsJsonArray().get(order.get(at)).getAsJsonObject());
                    }
                    drain(statement, statement.execute(), outcome);
                } catch (SQLException error) {
                    failed(outcome, error);
                }
            }
        } catch (SQLException error) {
            failed(outcome, error);
        }
        return outcome;
    }

    private static Object cell(String declared, String value) {
        if (value == null) {
            return null;
        }
        return switch (declared.replaceAll("\\(.*", "")) {
            case "int" -> Integer.valueOf(value);
            case "bit" -> value.equals("1");
            case "float" -> Double.valueOf(value);
            case "decimal" -> new BigDecimal(value);
            case "date" -> java.sql.Date.valueOf(value);
            case "varbinary" -> HexFormat.of().parseHex(value.substring(2));
            default -> value;
        };
    }

    private static int jdbcType(String declared) {
        return switch (declared.replaceAll("\\(.*", "")) {
            case "int" -> java.sql.Types.INTEGER;
            case "bit" -> java.sql.Types.BIT;
            case "float" -> java.sql.Types.DOUBLE;
            case "decimal" -> java.sql.Types.DECIMAL;
            case "date" -> java.sql.Types.DATE;
            case "varbinary" -> java.sql.Types.VARBINARY;
            default -> java.sql.Types.NVARCHAR;
        };
    }

    /** The rows of a step as a bulk copy wants them. */
    private record Rows(JsonArray columns, Iterator<JsonElement> rows, JsonArray[] current) implements ISQLServerBulkData {
        private JsonObject column(int at) {
            return columns.get(at - 1).getAsJsonObject();
        }

        private String[] numbers(int at) {
            return text(column(at), "type").replaceAll("^\\w+\\(?|\\)", "").split(",");
        }

        @Override
        public Set<Integer> getColumnOrdinals() {
            Set<Integer> ordinals = new TreeSet<>();
            for (int at = 1; at <= columns.size(); at++) {
                ordinals.add(at);
            }
            return ordinals;
        }

        @Override
        public String getColumnName(int at) {
            return text(column(at), "name");
        }

        @Override
        public int getColumnType(int at) {
            return jdbcType(text(column(at), "type"));
        }

        @Override
        public int getPrecision(int at) {
            return numbers(at)[0].isEmpty() ? 0 : Integer.parseInt(numbers(at)[0].trim());
        }

        @Override
        public int getScale(int at) {
            return numbers(at).length < 2 ? 0 : Integer.parseInt(numbers(at)[1].trim());
        }

        @Override
        public Object[] getRowData() {
            Object[] row = new Object[columns.size()];
            for (int at = 0; at < row.length; at++) {
                JsonElement value = current[0].get(at);
                row[at] = cell(text(column(at + 1), "type"), value.isJsonNull() ? null : value.getAsString());
            }
            return row;
        }

        @Override
        public boolean next() {
            if (!rows.hasNext()) {
                return false;
            }
            current[0] = rows.next().getAsJsonArray();
            return true;
        }
    }

    private static JsonObject bulk(Connection connection, JsonObject step) throws SQLException {
        JsonArray columns = step.getAsJsonArray("columns");
        JsonArray load = step.getAsJsonArray("load");
        try (SQLServerBulkCopy copy = new SQLServerBulkCopy(connection)) {
            copy.setDestinationTableName(text(step, "table"));
            for (int at = 1; at <= columns.size(); at++) {
                copy.addColumnMapping(at, text(columns.get(at - 1).getAsJsonObject(), "name"));
            }
            copy.writeToServer(new Rows(columns, load.iterator(), new JsonArray[1]));
        }
        JsonObject outcome = empty();
        outcome.getAsJsonArray("counts").add(load.size());
        return outcome;
    }

    private static JsonObject table(Connection connection, JsonObject step) throws SQLException {
        SQLServerDataTable table = new SQLServerDataTable();
        JsonArray columns = step.getAsJsonArray("columns");
        for (JsonElement column : columns) {
            table.addColumnMetadata(text(column.getAsJsonObject(), "name"), jdbcType(text(column.getAsJsonObject(), "type")));
        }
        for (JsonElement row : step.getAsJsonArray("load")) {
            Object[] values = new Object[columns.size()];
            for (int at = 0; at < values.length; at++) {
                JsonElement value = row.getAsJsonArray().get(at);
                String declared = text(columns.get(at).getAsJsonObject(), "type");
                values[at] = cell(declared, value.isJsonNull() ? null : value.getAsString());
            }
            table.addRow(values);
        }
        JsonObject outcome = empty();
        String sql = text(step, "sql").replace("@p1", "?");
        try (SQLServerPreparedStatement statement = (SQLServerPreparedStatement) connection.prepareStatement(sql)) {
            statement.setStructured(1, text(step, "table"), table);
            drain(statement, statement.execute(), outcome);
        }
        return outcome;
    }

    private static JsonObject cancel(Connection connection, String sql) throws Exception {
        ScheduledExecutorService timer = Executors.newSingleThreadScheduledExecutor();
        JsonObject outcome = empty();
        try (Statement statement = connection.createStatement()) {
            timer.schedule(() -> {
                statement.cancel();
                return null;
            }, CANCEL_AFTER_SECONDS, TimeUnit.SECONDS);
            try {
                drain(statement, statement.execute(sql), outcome);
                return failed(empty(), new IllegalStateException("the statement came to its end"));
            } catch (SQLException cancelled) {
                // As it should be.
            }
        } finally {
            timer.shutdownNow();
        }
        return batch(connection, "SELECT 'alive'");
    }
}
