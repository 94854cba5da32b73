//! Functions and `@@` values whose answers the engine knows; their names and types are fixed here.

use crate::types::{Length, SqlType};

/// `sysname`, and what most names are given back as.
const NAME: SqlType = SqlType::NVarChar {
    len: Length::Chars(128),
};
const TEXT: SqlType = SqlType::NVarChar {
    len: Length::Chars(4000),
};

macro_rules! environment {
    ($($variant:ident $name:literal ($($argument:expr),*) $least:literal -> $result:expr;)*) => {
        /// A function about the session, the catalog or the server.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) enum EnvironmentFunction { $($variant),* }

        impl EnvironmentFunction {
            /// By name in upper case.
            pub(crate) fn find(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }

            /// Name in upper case.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// Types that its arguments are converted to.
            pub(crate) fn arguments(self) -> &'static [SqlType] {
                match self { $(Self::$variant => const { &[$($argument),*] }),* }
            }

            /// How many of them must be given.
            pub(crate) fn required(self) -> usize {
                match self { $(Self::$variant => $least),* }
            }

            /// Type of the answer.
            pub(crate) fn result(self) -> SqlType {
                match self { $(Self::$variant => $result),* }
            }
        }
    };
}

environment! {
    AppName "APP_NAME" () 0 -> NAME;
    ChangeTrackingCurrentVersion "CHANGE_TRACKING_CURRENT_VERSION" () 0 -> SqlType::BigInt;
    ChangeTrackingIsColumnInMask "CHANGE_TRACKING_IS_COLUMN_IN_MASK" (SqlType::Int, SqlType::VarBinary { len: Length::Max }) 2 -> SqlType::Bit;
    ChangeTrackingMinValidVersion "CHANGE_TRACKING_MIN_VALID_VERSION" (SqlType::Int) 1 -> SqlType::BigInt;
    ColLength "COL_LENGTH" (TEXT, NAME) 2 -> SqlType::SmallInt;
    ColName "COL_NAME" (SqlType::Int, SqlType::Int) 2 -> NAME;
    CollationProperty "COLLATIONPROPERTY" (NAME, NAME) 2 -> SqlType::SqlVariant;
    ColumnProperty "COLUMNPROPERTY" (SqlType::Int, NAME, NAME) 3 -> SqlType::Int;
    ConnectionProperty "CONNECTIONPROPERTY" (NAME) 1 -> SqlType::SqlVariant;
    ContextInfo "CONTEXT_INFO" () 0 -> SqlType::VarBinary { len: Length::Chars(128) };
    CurrentRequestId "CURRENT_REQUEST_ID" () 0 -> SqlType::SmallInt;
    CurrentTransactionId "CURRENT_TRANSACTION_ID" () 0 -> SqlType::BigInt;
    CurrentUser "CURRENT_USER" () 0 -> NAME;
    DatabaseId "DB_ID" (NAME) 0 -> SqlType::SmallInt;
    DatabaseName "DB_NAME" (SqlType::Int) 0 -> NAME;
    DatabasePropertyEx "DATABASEPROPERTYEX" (NAME, NAME) 2 -> SqlType::SqlVariant;
    DatabasePrincipalId "DATABASE_PRINCIPAL_ID" (NAME) 0 -> SqlType::Int;
    HasDbAccess "HAS_DBACCESS" (NAME) 1 -> SqlType::Int;
    HasPermsByName "HAS_PERMS_BY_NAME" (TEXT, NAME, NAME, NAME, NAME) 3 -> SqlType::Int;
    HostId "HOST_ID" () 0 -> SqlType::Char { len: 10 };
    HostName "HOST_NAME" () 0 -> NAME;
    IdentCurrent "IDENT_CURRENT" (TEXT) 1 -> SqlType::Numeric { precision: 38, scale: 0 };
    IdentIncrement "IDENT_INCR" (TEXT) 1 -> SqlType::Numeric { precision: 38, scale: 0 };
    IdentSeed "IDENT_SEED" (TEXT) 1 -> SqlType::Numeric { precision: 38, scale: 0 };
    IndexColumn "INDEX_COL" (TEXT, SqlType::Int, SqlType::Int) 3 -> NAME;
    IndexProperty "INDEXPROPERTY" (SqlType::Int, NAME, NAME) 3 -> SqlType::Int;
    IsMember "IS_MEMBER" (NAME) 1 -> SqlType::Int;
    IsRoleMember "IS_ROLEMEMBER" (NAME, NAME) 1 -> SqlType::Int;
    IsServerRoleMember "IS_SRVROLEMEMBER" (NAME, NAME) 1 -> SqlType::Int;
    MinActiveRowversion "MIN_ACTIVE_ROWVERSION" () 0 -> SqlType::Binary { len: 8 };
    NewSequentialId "NEWSEQUENTIALID" () 0 -> SqlType::UniqueIdentifier;
    ObjectDefinition "OBJECT_DEFINITION" (SqlType::Int) 1 -> SqlType::NVarChar { len: Length::Max };
    ObjectId "OBJECT_ID" (TEXT, NAME) 1 -> SqlType::Int;
    ObjectName "OBJECT_NAME" (SqlType::Int, SqlType::Int) 1 -> NAME;
    ObjectProperty "OBJECTPROPERTY" (SqlType::Int, NAME) 2 -> SqlType::Int;
    ObjectPropertyEx "OBJECTPROPERTYEX" (SqlType::Int, NAME) 2 -> SqlType::SqlVariant;
    ObjectSchemaName "OBJECT_SCHEMA_NAME" (SqlType::Int, SqlType::Int) 1 -> NAME;
    OriginalDbName "ORIGINAL_DB_NAME" () 0 -> NAME;
    OriginalLogin "ORIGINAL_LOGIN" () 0 -> NAME;
    RowCountBig "ROWCOUNT_BIG" () 0 -> SqlType::BigInt;
    SchemaId "SCHEMA_ID" (NAME) 0 -> SqlType::Int;
    SchemaName "SCHEMA_NAME" (SqlType::Int) 0 -> NAME;
    ScopeIdentity "SCOPE_IDENTITY" () 0 -> SqlType::Numeric { precision: 38, scale: 0 };
    ServerProperty "SERVERPROPERTY" (NAME) 1 -> SqlType::SqlVariant;
    SessionContext "SESSION_CONTEXT" (NAME) 1 -> SqlType::SqlVariant;
    SessionProperty "SESSIONPROPERTY" (NAME) 1 -> SqlType::SqlVariant;
    SessionUser "SESSION_USER" () 0 -> NAME;
    SuserId "SUSER_ID" (NAME) 0 -> SqlType::Int;
    SuserName "SUSER_NAME" (SqlType::Int) 0 -> NAME;
    SuserSid "SUSER_SID" (NAME) 0 -> SqlType::VarBinary { len: Length::Chars(85) };
    SuserSname "SUSER_SNAME" (SqlType::VarBinary { len: Length::Chars(85) }) 0 -> NAME;
    SystemUser "SYSTEM_USER" () 0 -> NAME;
    TriggerNestLevel "TRIGGER_NESTLEVEL" (SqlType::Int) 0 -> SqlType::Int;
    TypeId "TYPE_ID" (TEXT) 1 -> SqlType::Int;
    TypeName "TYPE_NAME" (SqlType::Int) 1 -> NAME;
    TypeProperty "TYPEPROPERTY" (TEXT, NAME) 2 -> SqlType::Int;
    UserId "USER_ID" (NAME) 0 -> SqlType::Int;
    UserName "USER_NAME" (SqlType::Int) 0 -> NAME;
    XactState "XACT_STATE" () 0 -> SqlType::SmallInt;
    CdcGetMaxLsn "SYS.FN_CDC_GET_MAX_LSN" () 0 -> SqlType::Binary { len: 10 };
    CdcGetMinLsn "SYS.FN_CDC_GET_MIN_LSN" (NAME) 1 -> SqlType::Binary { len: 10 };
    CdcIncrementLsn "SYS.FN_CDC_INCREMENT_LSN" (SqlType::Binary { len: 10 }) 1 -> SqlType::Binary { len: 10 };
    CdcDecrementLsn "SYS.FN_CDC_DECREMENT_LSN" (SqlType::Binary { len: 10 }) 1 -> SqlType::Binary { len: 10 };
    CdcMapTimeToLsn "SYS.FN_CDC_MAP_TIME_TO_LSN" (NAME, SqlType::DateTime) 2 -> SqlType::Binary { len: 10 };
    CdcGetColumnOrdinal "SYS.FN_CDC_GET_COLUMN_ORDINAL" (NAME, NAME) 2 -> SqlType::Int;
    CdcHasColumnChanged "SYS.FN_CDC_HAS_COLUMN_CHANGED" (NAME, NAME, SqlType::VarBinary { len: Length::Chars(128) }) 3 -> SqlType::Bit;
    CdcIsBitSet "SYS.FN_CDC_IS_BIT_SET" (SqlType::Int, SqlType::VarBinary { len: Length::Chars(128) }) 2 -> SqlType::Bit;
    CdcMapLsnToTime "SYS.FN_CDC_MAP_LSN_TO_TIME" (SqlType::Binary { len: 10 }) 1 -> SqlType::DateTime;
}

macro_rules! globals {
    ($($variant:ident $name:literal -> $ty:expr;)*) => {
        /// A value written `@@name`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) enum Global { $($variant),* }

        impl Global {
            /// By name with its `@@`, in upper case.
            pub(crate) fn find(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }

            /// Its type.
            pub(crate) fn ty(self) -> SqlType {
                match self { $(Self::$variant => $ty),* }
            }
        }
    };
}

globals! {
    Connections "@@CONNECTIONS" -> SqlType::Int;
    CpuBusy "@@CPU_BUSY" -> SqlType::Int;
    DateFirst "@@DATEFIRST" -> SqlType::TinyInt;
    Dbts "@@DBTS" -> SqlType::VarBinary { len: Length::Chars(8) };
    Error "@@ERROR" -> SqlType::Int;
    FetchStatus "@@FETCH_STATUS" -> SqlType::Int;
    Identity "@@IDENTITY" -> SqlType::Numeric { precision: 38, scale: 0 };
    LangId "@@LANGID" -> SqlType::SmallInt;
    Language "@@LANGUAGE" -> NAME;
    LockTimeout "@@LOCK_TIMEOUT" -> SqlType::Int;
    MaxConnections "@@MAX_CONNECTIONS" -> SqlType::Int;
    MaxPrecision "@@MAX_PRECISION" -> SqlType::TinyInt;
    MicrosoftVersion "@@MICROSOFTVERSION" -> SqlType::Int;
    NestLevel "@@NESTLEVEL" -> SqlType::Int;
    Options "@@OPTIONS" -> SqlType::Int;
    PackReceived "@@PACK_RECEIVED" -> SqlType::Int;
    ProcId "@@PROCID" -> SqlType::Int;
    RemServer "@@REMSERVER" -> NAME;
    RowCount "@@ROWCOUNT" -> SqlType::Int;
    ServerName "@@SERVERNAME" -> NAME;
    ServiceName "@@SERVICENAME" -> NAME;
    Spid "@@SPID" -> SqlType::SmallInt;
    TextSize "@@TEXTSIZE" -> SqlType::Int;
    TranCount "@@TRANCOUNT" -> SqlType::Int;
    Version "@@VERSION" -> SqlType::NVarChar { len: Length::Chars(300) };
}
