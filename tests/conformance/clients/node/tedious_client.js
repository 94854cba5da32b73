// Runs the conformance list with tedious. Usage: tedious_client.js CLIENT JOB.json
//
// Knows no expectation: prints one line of JSON for each case with what the client gave, in the text forms of README.md.
'use strict';

const fs = require('fs');
const { Connection, Request, TYPES, ISOLATION_LEVEL } = require('tedious');

const CANCEL_AFTER = 1000;
// A value that tedious cannot encode leaves its request without an end.
const SILENCE = 10000;

const job = JSON.parse(fs.readFileSync(process.argv[3], 'utf8'));

function connect({ database, password } = {}) {
  const options = {
    port: job.port,
    database: database || job.database,
    encrypt: { plain: false, tls: true, strict: 'strict' }[job.mode],
    cryptoCredentialsDetails: { ca: fs.readFileSync(job.authority) },
    useColumnNames: false,
    useUTC: true,
    requestTimeout: 0,
    connectTimeout: 10000,
  };
  const authentication = { type: 'default', options: { userName: job.user, password: password || job.password } };
  return new Promise((resolve, reject) => {
    const connection = new Connection({ server: job.host, authentication, options });
    connection.on('error', () => {}); // the request that it breaks says so
    connection.connect((error) => (error ? reject(error) : resolve(connection)));
  });
}

function failure(error) {
  const first = error.errors ? error.errors[0] : error;
  const number = Number.isInteger(first.number) ? first.number : null;
  return { number: number, message: String(first.message) };
}

const pad = (number, width) => String(number).padStart(width, '0');

function clock(value) {
  const fraction = value.getUTCMilliseconds() * 10000 + Math.round((value.nanosecondsDelta || 0) * 1e7);
  return `${pad(value.getUTCHours(), 2)}:${pad(value.getUTCMinutes(), 2)}:${pad(value.getUTCSeconds(), 2)}.${pad(fraction, 7)}`;
}

const date = (value) => `${pad(value.getUTCFullYear(), 4)}-${pad(value.getUTCMonth() + 1, 2)}-${pad(value.getUTCDate(), 2)}`;

// The text form of a value. Numbers with a scale come as doubles.
function form({ value, metadata }) {
  if (value === null) return null;
  const type = metadata.type.name;
  if (typeof value === 'boolean') return value ? '1' : '0';
  if (Buffer.isBuffer(value)) return '0x' + value.toString('hex').toUpperCase();
  if (value instanceof Date) {
    if (type === 'Date') return date(value);
    if (type === 'Time') return clock(value);
    // The offset is not kept; the value is in UTC.
    return `${date(value)} ${clock(value)}` + (type === 'DateTimeOffset' ? ' +00:00' : '');
  }
  if (typeof value === 'number') {
    const scale = { Money: 4, MoneyN: 4, SmallMoney: 4 }[type] ?? metadata.scale;
    return /Decimal|Numeric|Money/.test(type) ? value.toFixed(scale) : String(value);
  }
  return String(value);
}

function utc(text) {
  const [day, time = '00:00:00', zone = '+00:00'] = text.includes(':') && !text.includes('-') ? ['1970-01-01', text] : text.split(' ');
  const [whole, fraction = ''] = time.split('.');
  const ticks = fraction.padEnd(7, '0');
  const moment = new Date(`${day}T${whole}.${ticks.slice(0, 3)}${zone === '+00:00' ? 'Z' : zone}`);
  moment.nanosecondDelta = Number(ticks.slice(3)) / 1e7;
  return moment;
}

// Type, options and value of a parameter.
function native({ type, value }) {
  const [, family, list = ''] = /^(\w+)(?:\((.*)\))?$/.exec(type);
  const numbers = list.split(',').map(Number);
  const length = list === 'max' ? Infinity : numbers[0] || undefined;
  const given = (convert) => (value === null ? null : convert(value));
  const bytes = () => given((text) => Buffer.from(text.slice(2), 'hex'));
  switch (family) {
    case 'bit': return [TYPES.Bit, {}, given((text) => text === '1')];
    case 'tinyint': return [TYPES.TinyInt, {}, given(Number)];
    case 'smallint': return [TYPES.SmallInt, {}, given(Number)];
    case 'int': return [TYPES.Int, {}, given(Number)];
    case 'bigint': return [TYPES.BigInt, {}, given(BigInt)];
    case 'decimal': return [TYPES.Decimal, { precision: numbers[0], scale: numbers[1] }, given(Number)];
    case 'numeric': return [TYPES.Numeric, { precision: numbers[0], scale: numbers[1] }, given(Number)];
    case 'money': return [TYPES.Money, {}, given(Number)];
    case 'smallmoney': return [TYPES.SmallMoney, {}, given(Number)];
    case 'float': return [TYPES.Float, {}, given(Number)];
    case 'real': return [TYPES.Real, {}, given(Number)];
    case 'date': return [TYPES.Date, {}, given(utc)];
    case 'time': return [TYPES.Time, { scale: numbers[0] }, given(utc)];
    case 'datetime': return [TYPES.DateTime, {}, given(utc)];
    case 'smalldatetime': return [TYPES.SmallDateTime, {}, given(utc)];
    case 'datetime2': return [TYPES.DateTime2, { scale: numbers[0] }, given(utc)];
    case 'datetimeoffset': return [TYPES.DateTimeOffset, { scale: numbers[0] }, given(utc)];
    case 'uniqueidentifier': return [TYPES.UniqueIdentifier, {}, value];
    case 'binary': return [TYPES.Binary, { length }, bytes()];
    case 'varbinary': return [TYPES.VarBinary, { length }, bytes()];
    case 'image': return [TYPES.Image, {}, bytes()];
    case 'char': return [TYPES.Char, { length }, value];
    case 'varchar': return [TYPES.VarChar, { length }, value];
    case 'nchar': return [TYPES.NChar, { length }, value];
    case 'text': return [TYPES.Text, {}, value];
    case 'ntext': return [TYPES.NText, {}, value];
    default: return [TYPES.NVarChar, { length }, value];
  }
}

// A request with all that it gives; `start` sends it.
function run(connection, sql, parameters, start) {
  return new Promise((resolve) => {
    const outcome = { results: [], counts: [] };
    let inResult = false;
    const silent = setTimeout(() => resolve({ error: { message: 'the request never ended' } }), SILENCE);
    const request = new Request(sql, (error) => {
      clearTimeout(silent);
      if (error) outcome.error = failure(error);
      resolve(outcome);
    });
    for (const [at, parameter] of (parameters || []).entries()) {
      const [type, options, value] = native(parameter);
      request.addParameter(`p${at + 1}`, type, value, options);
    }
    request.on('columnMetadata', () => {
      outcome.results.push([]);
      inResult = true;
    });
    request.on('row', (columns) => outcome.results.at(-1).push(columns.map(form)));
    const done = (rowCount) => {
      if (!inResult && rowCount !== undefined) outcome.counts.push(rowCount);
      inResult = false;
    };
    request.on('done', done);
    request.on('doneInProc', done);
    start(request);
  });
}

const batch = (connection, sql) => run(connection, sql, null, (request) => connection.execSqlBatch(request));

function prepared(connection, sql, runs) {
  return new Promise((resolve) => {
    const all = { results: [], counts: [] };
    let current = null;
    let inResult = false;
    const request = new Request(sql, (error) => {
      if (error && !all.error) all.error = failure(error);
      const next = current;
      current = null;
      if (next) next();
    });
    for (const [at, parameter] of runs[0].entries()) {
      const [type, options] = native({ type: parameter.type, value: null });
      request.addParameter(`p${at + 1}`, type, undefined, options);
    }
    request.on('columnMetadata', () => {
      all.results.push([]);
      inResult = true;
    });
    request.on('row', (columns) => all.results.at(-1).push(columns.map(form)));
    const done = (rowCount) => {
      if (!inResult && rowCount !== undefined) all.counts.push(rowCount);
      inResult = false;
    };
    request.on('done', done);
    request.on('doneInProc', done);
    const step = (action) => new Promise((next) => {
      current = next;
      action();
    });
    (async () => {
      await step(() => {
        request.on('prepared', () => {
          const next = current;
          current = null;
          if (next) next();
        });
        connection.prepare(request);
      });
      for (const parameters of runs) {
        const values = Object.fromEntries(parameters.map((parameter, at) => [`p${at + 1}`, native(parameter)[2]]));
        await step(() => connection.execute(request, values));
      }
      await step(() => connection.unprepare(request));
      resolve(all);
    })();
  });
}

const LEVELS = { SERIALIZABLE: ISOLATION_LEVEL.SERIALIZABLE, SNAPSHOT: ISOLATION_LEVEL.SNAPSHOT };

const ended = (start) => new Promise((resolve) => start((error) => resolve(error ? { error: failure(error) } : {})));

function bulk(connection, step) {
  return new Promise((resolve) => {
    const load = connection.newBulkLoad(step.table, (error, count) => {
      resolve(error ? { error: failure(error) } : { counts: [count] });
    });
    for (const column of step.columns) {
      const [type, options] = native({ type: column.type, value: null });
      load.addColumn(column.name, type, { nullable: true, ...options });
    }
    connection.execBulkLoad(load, step.load.map((row) =>
      row.map((cell, at) => native({ type: step.columns[at].type, value: cell })[2])));
  });
}

async function cancel(connection, sql) {
  let cancelled = false;
  const timer = setTimeout(() => {
    cancelled = true;
    connection.cancel();
  }, CANCEL_AFTER);
  const outcome = await batch(connection, sql);
  clearTimeout(timer);
  if (!cancelled || !outcome.error) return { error: { message: 'the statement came to its end' } };
  return batch(connection, "SELECT 'alive'");
}

function table(connection, step) {
  const columns = step.columns.map((column) => {
    const [type, options] = native({ type: column.type, value: null });
    return { name: column.name, type, ...options };
  });
  const rows = step.load.map((row) => row.map((cell, at) => native({ type: step.columns[at].type, value: cell })[2]));
  return new Promise((resolve) => {
    const outcome = { results: [], counts: [] };
    const request = new Request(step.sql, (error) => {
      if (error) outcome.error = failure(error);
      resolve(outcome);
    });
    request.addParameter('p1', TYPES.TVP, { name: step.table, columns, rows });
    request.on('columnMetadata', () => outcome.results.push([]));
    request.on('row', (row) => outcome.results.at(-1).push(row.map(form)));
    connection.execSql(request);
  });
}

class Case {
  constructor() {
    this.sessions = {};
    this.running = {};
  }

  async session(name) {
    this.sessions[name] ||= await connect();
    return this.sessions[name];
  }

  async step(step) {
    if (step.do === 'connect') {
      const connection = await connect(step);
      const outcome = await batch(connection, step.sql);
      connection.close();
      return outcome;
    }
    if (step.do === 'finish') return this.running[step.on];
    const connection = await this.session(step.on);
    switch (step.do) {
      case 'sql': return batch(connection, step.sql);
      case 'parameters': return run(connection, step.sql, step.parameters[0], (request) => connection.execSql(request));
      case 'prepare': return prepared(connection, step.sql, step.parameters);
      case 'begin': return ended((done) => connection.beginTransaction(done, '', LEVELS[step.isolation]));
      case 'commit': return ended((done) => connection.commitTransaction(done));
      case 'rollback': return ended((done) => connection.rollbackTransaction(done));
      case 'bulk': return bulk(connection, step);
      case 'cancel': return cancel(connection, step.sql);
      case 'table': return table(connection, step);
      case 'start':
        this.running[step.on] = batch(connection, step.sql);
        return {};
      default: throw new Error(`tedious cannot ${step.do}`);
    }
  }

  async run(steps) {
    const outcomes = [];
    for (const step of steps) {
      try {
        outcomes.push(await this.step(step));
      } catch (error) {
        outcomes.push({ error: failure(error) });
      }
    }
    Object.values(this.sessions).forEach((connection) => connection.close());
    return outcomes;
  }
}

(async () => {
  for (const one of job.cases) {
    const steps = await new Case().run(one.steps);
    console.log(JSON.stringify({ case: one.case, steps }));
  }
  process.exit(0);
})();
