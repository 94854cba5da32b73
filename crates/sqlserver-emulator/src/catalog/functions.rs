//! Functions whose answers come from the catalog: `OBJECT_ID`, `SERVERPROPERTY`, `HAS_PERMS_BY_NAME` and their kin.

use super::names::ObjectReference;
use super::permissions::has_permission;
use super::{Viewer, columns, objects, text};
use crate::collation::{CodePage, Collation};
use crate::error::SqlResult;
use crate::eval::EnvironmentFunction as Function;
use crate::store::{Column, Database, Index, Table, TableData};
use crate::types::SqlType;
use crate::value::{Decimal, Value};

/// `SERVERPROPERTY('ProductVersion')`.
pub(crate) const PRODUCT_VERSION: &str = "16.0.1000.6";

/// The answer of `function`; none if the catalog does not know it and the session has to. Arguments that were left out are
/// missing at the end of `arguments`, and have the types that the function declares.
pub(crate) fn catalog_function(
    viewer: &Viewer<'_>,
    function: Function,
    arguments: &[Value],
) -> SqlResult<Option<Value>> {
    let arguments = Arguments(arguments);
    let answer = object_function(viewer, function, &arguments)
        .or_else(|| table_function(viewer, function, &arguments))
        .or_else(|| database_function(viewer, function, &arguments))
        .or_else(|| principal_function(viewer, function, &arguments));
    Ok(answer)
}

/// What a function was called with.
pub(super) struct Arguments<'a>(pub(super) &'a [Value]);

impl Arguments<'_> {
    pub(super) fn text(&self, at: usize) -> Option<String> {
        self.0.get(at).and_then(Value::as_text)
    }

    /// A name, for comparing without case and blanks at the end.
    pub(super) fn word(&self, at: usize) -> Option<String> {
        Some(self.text(at)?.trim_end().to_uppercase())
    }

    fn number(&self, at: usize) -> Option<i32> {
        self.0
            .get(at)
            .and_then(Value::as_integer)
            .and_then(|number| i32::try_from(number).ok())
    }

    fn is_given(&self, at: usize) -> bool {
        self.0.get(at).is_some()
    }
}

fn or_null(value: Option<Value>) -> Value {
    value.unwrap_or(Value::Null)
}

fn int(number: impl Into<i32>) -> Value {
    Value::Int(number.into())
}

fn numeric(number: i64) -> Value {
    Value::Decimal(Decimal {
        unscaled: i128::from(number),
        precision: 38,
        scale: 0,
    })
}

impl<'a> Viewer<'a> {
    /// The same question about another database.
    pub(super) fn of(&self, database: &'a Database) -> Self {
        Self { database, ..*self }
    }

    pub(super) fn database_named(&self, name: Option<&str>) -> Option<&'a Database> {
        match name {
            None => Some(self.database),
            Some(name) => self.store.database_named(name).map(|database| &**database),
        }
    }

    fn database_numbered(&self, id: Option<i32>) -> Option<&'a Database> {
        match id {
            None => Some(self.database),
            Some(id) => self.store.databases.get(&id).map(|database| &**database),
        }
    }

    /// The table that a name means, temporary ones included.
    pub(super) fn table_data(&self, reference: &ObjectReference) -> Option<&'a TableData> {
        let id = if reference.name.starts_with('#') {
            (self.temporary)(&reference.name)
        } else {
            let database = self.database_named(reference.database.as_deref())?;
            database.table(reference.schema.as_deref().unwrap_or("dbo"), &reference.name)
        };
        self.store.tables.get(&id?)
    }

    pub(super) fn table_called(&self, name: Option<String>) -> Option<&'a TableData> {
        self.table_data(&ObjectReference::parse(&name?)?)
    }

    /// The table of an object id, in the current database or among all, since temporary ones live elsewhere.
    fn table_numbered(&self, id: Option<i32>) -> Option<&'a Table> {
        let id = id?;
        let own = self
            .database
            .tables
            .values()
            .filter_map(|table| self.store.tables.get(table));
        let all = self.store.tables.values();
        own.chain(all)
            .map(|data| &*data.definition)
            .find(|table| table.object_id == id)
    }
}

fn object_function(viewer: &Viewer<'_>, function: Function, arguments: &Arguments<'_>) -> Option<Value> {
    Some(or_null(match function {
        Function::ObjectId => object_id(viewer, arguments),
        Function::ObjectName => object_part(viewer, arguments, |object| object.name.to_owned()),
        Function::ObjectSchemaName => object_part(viewer, arguments, |object| object.schema.to_owned()),
        Function::ObjectProperty | Function::ObjectPropertyEx => object_property(viewer, arguments),
        Function::ObjectDefinition => {
            let id = arguments.number(0);
            let module = viewer
                .database
                .modules
                .iter()
                .find(|module| Some(module.object_id) == id);
            module.map(|module| text(objects::module_text(module)))
        }
        Function::SchemaId => match arguments.text(0) {
            None if arguments.is_given(0) => None,
            None => Some(int(1)),
            Some(name) => viewer.database.schema(&name).map(|schema| int(schema.id)),
        },
        Function::SchemaName => {
            let id = arguments.number(0).unwrap_or(1);
            let schema = viewer.database.schemas.iter().find(|schema| schema.id == id);
            schema.map(|schema| text(&schema.name))
        }
        Function::TypeId => arguments.text(0).and_then(|name| type_id(&name)).map(Value::Int),
        Function::TypeName => arguments.number(0).and_then(type_name).map(text),
        _ => return None,
    }))
}

/// Error-free: a name that means nothing gives NULL.
pub(super) fn object_id(viewer: &Viewer<'_>, arguments: &Arguments<'_>) -> Option<Value> {
    let reference = ObjectReference::parse(&arguments.text(0)?)?;
    let kind = match (arguments.is_given(1), arguments.word(1)) {
        (true, None) => return None,
        (_, kind) => kind,
    };
    let wanted = |found: &str| kind.as_deref().is_none_or(|kind| kind == found.trim_end());
    if let Some(data) = viewer.table_data(&reference) {
        return wanted("U").then(|| int(data.definition.object_id));
    }
    let schema = reference.schema.as_deref().unwrap_or("dbo");
    if matches!(super::view(viewer, schema, &reference.name), Ok(Some(_)) | Err(_)) {
        return wanted("V").then(|| int(system_view_id(&reference.name)));
    }
    let viewer = viewer.of(viewer.database_named(reference.database.as_deref())?);
    let same = |a: &str, b: &str| a.to_lowercase() == b.to_lowercase();
    let all = objects::all(&viewer);
    let object = all.iter().find(|object| {
        same(object.name, &reference.name) && same(object.schema, schema) && wanted(object.kind)
    });
    object.map(|object| int(object.id))
}

/// System views have negative numbers.
fn system_view_id(name: &str) -> i32 {
    let sum = name.to_lowercase().bytes().fold(0i32, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(i32::from(byte)) & 0x00FF_FFFF
    });
    -1 - sum
}

fn object_part(
    viewer: &Viewer<'_>,
    arguments: &Arguments<'_>,
    part: impl Fn(&objects::Object<'_>) -> String,
) -> Option<Value> {
    let id = arguments.number(0)?;
    let viewer = viewer.of(viewer.database_numbered(arguments.number(1))?);
    let all = objects::all(&viewer);
    all.iter()
        .find(|object| object.id == id)
        .map(|object| text(&part(object)))
}

fn object_property(viewer: &Viewer<'_>, arguments: &Arguments<'_>) -> Option<Value> {
    let id = arguments.number(0)?;
    let property = arguments.word(1)?;
    let all = objects::all(viewer);
    let object = all.iter().find(|object| object.id == id)?;
    let is = |kind: &str| Some(int(object.kind.trim_end() == kind));
    let table = viewer.table_numbered(Some(id));
    let has = |test: fn(&Table) -> bool| table.map(|table| int(test(table)));
    match property.as_str() {
        "BASETYPE" => Some(text(object.kind)),
        "ISTABLE" | "ISUSERTABLE" => is("U"),
        "ISVIEW" => is("V"),
        "ISPROCEDURE" => is("P"),
        "ISTRIGGER" => is("TR"),
        "ISPRIMARYKEY" => is("PK"),
        "ISUNIQUECNST" => is("UQ"),
        "ISFOREIGNKEY" => is("F"),
        "ISCHECKCNST" => is("C"),
        "ISDEFAULTCNST" => is("D"),
        "ISMSSHIPPED" => Some(int(0)),
        "OWNERID" => Some(int(1)),
        "SCHEMAID" => viewer.database.schema(object.schema).map(|schema| int(schema.id)),
        "TABLEHASPRIMARYKEY" => has(|table| table.primary_key().is_some()),
        "TABLEHASIDENTITY" => has(|table| table.identity().is_some()),
        "TABLEHASCLUSTINDEX" => has(|table| table.indexes.iter().any(|index| index.clustered)),
        "TABLEHASINDEX" => has(|table| !table.indexes.is_empty()),
        "TABLEHASFOREIGNKEY" => has(|table| !table.foreign_keys.is_empty()),
        "TABLEHASTIMESTAMP" => has(|table| table.columns.iter().any(|c| c.info.ty == SqlType::RowVersion)),
        "TABLETEMPORALTYPE" => has(|_| false),
        _ => None,
    }
}

fn type_id(name: &str) -> Option<i32> {
    let name = ObjectReference::parse(name)?.name.to_lowercase();
    let known = columns::system_types().into_iter().find(|ty| ty.name() == name);
    match name.as_str() {
        "sysname" => Some(256),
        "rowversion" => Some(189),
        "integer" => Some(56),
        "dec" => Some(106),
        _ => known.map(|ty| i32::from(ty.system_type_id())),
    }
}

fn type_name(id: i32) -> Option<&'static str> {
    if id == 256 {
        return Some("sysname");
    }
    let known = columns::system_types()
        .into_iter()
        .find(|ty| i32::from(ty.system_type_id()) == id);
    known.map(SqlType::name)
}

fn table_function(viewer: &Viewer<'_>, function: Function, arguments: &Arguments<'_>) -> Option<Value> {
    Some(or_null(match function {
        Function::ColLength => {
            column_called(viewer, arguments).map(|column| Value::SmallInt(column.info.ty.max_length()))
        }
        Function::ColName => {
            let id = arguments.number(1);
            let table = viewer.table_numbered(arguments.number(0));
            let column = table.and_then(|table| table.columns.iter().find(|column| Some(column.id) == id));
            column.map(|column| text(&column.name))
        }
        Function::ColumnProperty => column_property(viewer, arguments),
        Function::IndexProperty => index_property(viewer, arguments),
        Function::IndexColumn => index_column(viewer, arguments),
        Function::IdentCurrent => viewer.table_called(arguments.text(0)).and_then(|data| {
            let at = data.definition.identity()?;
            let seed = data.definition.columns.get(at)?.identity?.seed;
            Some(numeric(data.identity.unwrap_or(seed)))
        }),
        Function::IdentSeed => identity(viewer, arguments).map(|identity| numeric(identity.seed)),
        Function::IdentIncrement => identity(viewer, arguments).map(|identity| numeric(identity.increment)),
        Function::MinActiveRowversion => {
            let version = viewer.store.min_active_rowversion(viewer.database.id);
            Some(Value::bytes(&version.to_be_bytes()))
        }
        _ => return None,
    }))
}

fn column_called<'a>(viewer: &Viewer<'a>, arguments: &Arguments<'_>) -> Option<&'a Column> {
    let table = &viewer.table_called(arguments.text(0))?.definition;
    table.columns.get(table.column(&arguments.text(1)?)?)
}

fn identity(viewer: &Viewer<'_>, arguments: &Arguments<'_>) -> Option<crate::store::Identity> {
    let table = &viewer.table_called(arguments.text(0))?.definition;
    table.columns.get(table.identity()?)?.identity
}

fn column_property(viewer: &Viewer<'_>, arguments: &Arguments<'_>) -> Option<Value> {
    let table = viewer.table_numbered(arguments.number(0))?;
    let column = table.columns.get(table.column(&arguments.text(1)?)?)?;
    let ty = column.info.ty;
    let number = match arguments.word(2)?.as_str() {
        "ALLOWSNULL" => i32::from(column.info.nullable),
        "COLUMNID" => column.id,
        "ISIDENTITY" => i32::from(column.identity.is_some()),
        "ISCOMPUTED" => i32::from(column.computed.is_some()),
        "ISROWGUIDCOL" => i32::from(column.rowguid),
        "ISSPARSE" => i32::from(column.sparse),
        "ISHIDDEN" | "ISINDEXABLE" | "GENERATEDALWAYSTYPE" => 0,
        "CHARMAXLEN" if ty.is_max() => -1,
        "CHARMAXLEN" if ty.is_unicode() => i32::from(ty.max_length() / 2),
        "CHARMAXLEN" if ty.is_character() => i32::from(ty.max_length()),
        "PRECISION" => i32::from(ty.precision()),
        "SCALE" => i32::from(ty.scale()),
        _ => return None,
    };
    Some(int(number))
}

fn index_property(viewer: &Viewer<'_>, arguments: &Arguments<'_>) -> Option<Value> {
    let table = viewer.table_numbered(arguments.number(0))?;
    let name = arguments.word(1)?;
    let index = table
        .indexes
        .iter()
        .find(|index| index.name.to_uppercase() == name)?;
    let is = |test: fn(&Index) -> bool| Some(int(test(index)));
    match arguments.word(2)?.as_str() {
        "INDEXID" => Some(int(index.id)),
        "ISUNIQUE" => is(|index| index.unique),
        "ISCLUSTERED" => is(|index| index.clustered),
        "ISDISABLED" => is(|index| index.disabled),
        "ISHYPOTHETICAL" | "INDEXFILLFACTOR" => Some(int(0)),
        _ => None,
    }
}

fn index_column(viewer: &Viewer<'_>, arguments: &Arguments<'_>) -> Option<Value> {
    let table = &viewer.table_called(arguments.text(0))?.definition;
    let id = arguments.number(1)?;
    let index = table.indexes.iter().find(|index| index.id == id)?;
    let key = index.keys.get(usize::try_from(arguments.number(2)? - 1).ok()?)?;
    table.columns.get(key.column).map(|column| text(&column.name))
}

fn database_function(viewer: &Viewer<'_>, function: Function, arguments: &Arguments<'_>) -> Option<Value> {
    let named = || match arguments.text(0) {
        None if arguments.is_given(0) => None,
        name => viewer.database_named(name.as_deref()),
    };
    Some(or_null(match function {
        Function::DatabaseId => named().map(|database| Value::SmallInt(database.id as i16)),
        Function::DatabaseName => {
            let id = arguments.number(0);
            viewer
                .database_numbered(id.filter(|id| *id != 0))
                .map(|database| text(&database.name))
        }
        Function::HasDbAccess => named().map(|_| int(1)),
        Function::DatabasePropertyEx => {
            named().and_then(|database| database_property(database, &arguments.word(1)?))
        }
        Function::ServerProperty => arguments.word(0).and_then(|word| server_property(viewer, &word)),
        Function::CollationProperty => collation_property(arguments),
        _ => return None,
    }))
}

fn database_property(database: &Database, property: &str) -> Option<Value> {
    Some(match property {
        "COLLATION" => text(database.collation.name),
        "RECOVERY" => text(&database.options.recovery_model.to_uppercase()),
        "STATUS" => text("ONLINE"),
        "UPDATEABILITY" if database.options.read_only => text("READ_ONLY"),
        "UPDATEABILITY" => text("READ_WRITE"),
        "USERACCESS" => text("MULTI_USER"),
        "VERSION" => int(957),
        "LCID" => int(1033),
        "SQLSORTORDER" => Value::TinyInt(52),
        "ISAUTOCLOSE" | "ISAUTOSHRINK" | "ISINSTANDBY" | "ISPUBLISHED" | "ISFULLTEXTENABLED" => int(0),
        _ => return None,
    })
}

fn server_property(viewer: &Viewer<'_>, property: &str) -> Option<Value> {
    let mut version = PRODUCT_VERSION.split('.');
    Some(match property {
        "PRODUCTVERSION" => text(PRODUCT_VERSION),
        "PRODUCTMAJORVERSION" => text(version.next()?),
        "PRODUCTMINORVERSION" => text(version.nth(1)?),
        "PRODUCTBUILD" => text(version.nth(2)?),
        "PRODUCTLEVEL" => text("RTM"),
        "EDITION" => text("Developer Edition (64-bit)"),
        "ENGINEEDITION" => int(viewer.config.edition),
        "SERVERNAME" | "MACHINENAME" | "COMPUTERNAMEPHYSICALNETBIOS" => text(&viewer.config.server_name),
        "COLLATION" => text(Collation::server_default().name),
        "LCID" => int(1033),
        "SQLCHARSETNAME" => text("iso_1"),
        "ISSINGLEUSER" | "ISCLUSTERED" | "ISHADRENABLED" | "ISINTEGRATEDSECURITYONLY" => int(0),
        "ISFULLTEXTINSTALLED" | "ISXTPSUPPORTED" | "ISLOCALDB" | "ISBIGDATACLUSTER" => int(0),
        "PROCESSID" => int(1),
        _ => return None,
    })
}

fn collation_property(arguments: &Arguments<'_>) -> Option<Value> {
    let collation = Collation::find(arguments.text(0)?.trim_end())?;
    Some(match arguments.word(1)?.as_str() {
        "CODEPAGE" => int(match collation.code_page {
            CodePage::Utf8 => 65_001,
            CodePage::Windows(page) => i32::from(page),
        }),
        "LCID" => int(collation.lcid as i32),
        "COMPARISONSTYLE" => {
            let ignores = |sensitive: bool, flag: i32| if sensitive { 0 } else { flag };
            let style = ignores(collation.case_sensitive, 1) + ignores(collation.accent_sensitive, 2);
            int(if collation.binary { 0 } else { style + 0x3_0000 })
        }
        "VERSION" => Value::TinyInt(collation.version),
        _ => return None,
    })
}

fn principal_function(viewer: &Viewer<'_>, function: Function, arguments: &Arguments<'_>) -> Option<Value> {
    let login = viewer.login;
    let user = if login.sysadmin {
        "dbo"
    } else {
        login.name.as_str()
    };
    let facts = viewer
        .sessions
        .iter()
        .find(|session| session.id == viewer.session);
    Some(or_null(match function {
        Function::SystemUser | Function::OriginalLogin | Function::SuserSname | Function::SuserName => {
            Some(text(&login.name))
        }
        Function::SuserId => viewer
            .config
            .logins
            .iter()
            .position(|other| match arguments.text(0) {
                Some(name) => other.name.eq_ignore_ascii_case(&name),
                None => other.name == login.name,
            })
            .map(|at| int(at as i32 + 1)),
        Function::SuserSid => Some(Value::bytes(&[1])),
        Function::CurrentUser | Function::SessionUser | Function::UserName => Some(text(user)),
        Function::UserId | Function::DatabasePrincipalId => Some(int(if login.sysadmin { 1 } else { 5 })),
        Function::IsServerRoleMember => arguments.word(0).map(|role| match role.as_str() {
            "PUBLIC" => int(1),
            _ => int(login.sysadmin),
        }),
        Function::IsMember | Function::IsRoleMember => arguments.word(0).map(|role| match role.as_str() {
            "PUBLIC" | "DB_DATAREADER" | "DB_DATAWRITER" => int(1),
            _ => int(login.sysadmin),
        }),
        Function::AppName => facts.map(|session| text(&session.program_name)),
        Function::HostName => facts.map(|session| text(&session.host_name)),
        Function::HostId => facts.map(|session| text(&format!("{:<10}", session.host_process_id))),
        Function::HasPermsByName => has_permission(viewer, arguments).map(int),
        _ => return None,
    }))
}
