//! SQL Server's column types, as declared and as described to a client.

use std::fmt;

use crate::collation::Collation;

/// The declared length of a variable-length type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Length {
    /// UTF-16 units for `nvarchar`, bytes for `varchar` and `varbinary`.
    Chars(u16),
    /// `(max)`.
    Max,
}

/// A CLR type that the server brings along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClrType {
    /// A place in a tree.
    HierarchyId,
    /// Shapes in a plane.
    Geometry,
    /// Shapes on the globe.
    Geography,
}

impl ClrType {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::HierarchyId, Self::Geometry, Self::Geography];

    /// Its name in `sys.types`.
    pub fn name(self) -> &'static str {
        match self {
            Self::HierarchyId => "hierarchyid",
            Self::Geometry => "geometry",
            Self::Geography => "geography",
        }
    }

    /// `sys.types.user_type_id`.
    pub(crate) fn user_type_id(self) -> i32 {
        match self {
            Self::HierarchyId => 128,
            Self::Geometry => 129,
            Self::Geography => 130,
        }
    }

    /// The class in the assembly that SQL Server brings along.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::HierarchyId => "SqlHierarchyId",
            Self::Geometry => "SqlGeometry",
            Self::Geography => "SqlGeography",
        }
    }
}

/// Bytes in front of a vector's floats.
pub(crate) const VECTOR_HEADER: u16 = 8;

/// A type as T-SQL declares it. Strings carry their collation beside the type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the variants are T-SQL's own type names")]
pub enum SqlType {
    Bit,
    TinyInt,
    SmallInt,
    Int,
    BigInt,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Numeric {
        precision: u8,
        scale: u8,
    },
    Money,
    SmallMoney,
    Real,
    Float,
    Date,
    Time {
        scale: u8,
    },
    SmallDateTime,
    DateTime,
    DateTime2 {
        scale: u8,
    },
    DateTimeOffset {
        scale: u8,
    },
    Char {
        len: u16,
    },
    VarChar {
        len: Length,
    },
    NChar {
        len: u16,
    },
    NVarChar {
        len: Length,
    },
    Text,
    NText,
    Image,
    Binary {
        len: u16,
    },
    VarBinary {
        len: Length,
    },
    UniqueIdentifier,
    RowVersion,
    Xml,
    SqlVariant,
    /// Kept as the bytes that it is serialised to; its methods do not exist.
    Clr(ClrType),
    /// Its document without the blanks between its parts.
    Json,
    /// Single-precision floats; a value is kept as it is stored, behind its header.
    Vector {
        dimensions: u16,
    },
    /// The type of an untyped `NULL` literal; described to a client as `int`.
    Null,
}

impl SqlType {
    /// The name in `sys.types`; `rowversion` goes by `timestamp` there.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bit => "bit",
            Self::TinyInt => "tinyint",
            Self::SmallInt => "smallint",
            Self::Int | Self::Null => "int",
            Self::BigInt => "bigint",
            Self::Decimal { .. } => "decimal",
            Self::Numeric { .. } => "numeric",
            Self::Money => "money",
            Self::SmallMoney => "smallmoney",
            Self::Real => "real",
            Self::Float => "float",
            Self::Date => "date",
            Self::Time { .. } => "time",
            Self::SmallDateTime => "smalldatetime",
            Self::DateTime => "datetime",
            Self::DateTime2 { .. } => "datetime2",
            Self::DateTimeOffset { .. } => "datetimeoffset",
            Self::Char { .. } => "char",
            Self::VarChar { .. } => "varchar",
            Self::NChar { .. } => "nchar",
            Self::NVarChar { .. } => "nvarchar",
            Self::Text => "text",
            Self::NText => "ntext",
            Self::Image => "image",
            Self::Binary { .. } => "binary",
            Self::VarBinary { .. } => "varbinary",
            Self::UniqueIdentifier => "uniqueidentifier",
            Self::RowVersion => "timestamp",
            Self::Xml => "xml",
            Self::SqlVariant => "sql_variant",
            Self::Clr(ty) => ty.name(),
            Self::Json => "json",
            Self::Vector { .. } => "vector",
        }
    }

    /// `sys.types.system_type_id`.
    pub fn system_type_id(self) -> u8 {
        match self {
            Self::Image => 34,
            Self::Text => 35,
            Self::UniqueIdentifier => 36,
            Self::Date => 40,
            Self::Time { .. } => 41,
            Self::DateTime2 { .. } => 42,
            Self::DateTimeOffset { .. } => 43,
            Self::TinyInt => 48,
            Self::SmallInt => 52,
            Self::Int | Self::Null => 56,
            Self::SmallDateTime => 58,
            Self::Real => 59,
            Self::Money => 60,
            Self::DateTime => 61,
            Self::Float => 62,
            Self::SqlVariant => 98,
            Self::NText => 99,
            Self::Bit => 104,
            Self::Decimal { .. } => 106,
            Self::Numeric { .. } => 108,
            Self::SmallMoney => 122,
            Self::BigInt => 127,
            // A vector's system type is that of what it is stored in.
            Self::VarBinary { .. } | Self::Vector { .. } => 165,
            Self::VarChar { .. } => 167,
            Self::Binary { .. } => 173,
            Self::Char { .. } => 175,
            Self::RowVersion => 189,
            Self::NVarChar { .. } => 231,
            Self::NChar { .. } => 239,
            Self::Clr(_) => 240,
            Self::Json => 244,
            Self::Xml => 241,
        }
    }

    /// `sys.columns.max_length`: bytes, −1 for `(max)`.
    pub fn max_length(self) -> i16 {
        match self {
            Self::Bit | Self::TinyInt => 1,
            Self::SmallInt => 2,
            Self::Int | Self::SmallMoney | Self::Real | Self::SmallDateTime | Self::Null => 4,
            Self::BigInt | Self::Money | Self::Float | Self::DateTime | Self::RowVersion => 8,
            Self::Decimal { precision, .. } | Self::Numeric { precision, .. } => match precision {
                0..=9 => 5,
                10..=19 => 9,
                20..=28 => 13,
                _ => 17,
            },
            Self::Date => 3,
            Self::Time { scale } => match scale {
                0..=2 => 3,
                3..=4 => 4,
                _ => 5,
            },
            Self::DateTime2 { scale } => match scale {
                0..=2 => 6,
                3..=4 => 7,
                _ => 8,
            },
            Self::DateTimeOffset { scale } => match scale {
                0..=2 => 8,
                3..=4 => 9,
                _ => 10,
            },
            Self::Char { len } | Self::Binary { len } => len as i16,
            Self::NChar { len } => (len * 2) as i16,
            Self::VarChar { len } | Self::VarBinary { len } => match len {
                Length::Chars(n) => n as i16,
                Length::Max => -1,
            },
            Self::NVarChar { len } => match len {
                Length::Chars(n) => (n * 2) as i16,
                Length::Max => -1,
            },
            Self::Text | Self::NText | Self::Image | Self::UniqueIdentifier => 16,
            Self::Clr(ClrType::HierarchyId) => 892,
            Self::Xml | Self::Clr(_) | Self::Json => -1,
            Self::SqlVariant => 8016,
            Self::Vector { dimensions } => (VECTOR_HEADER + 4 * dimensions) as i16,
        }
    }

    /// `sys.columns.precision`.
    pub fn precision(self) -> u8 {
        match self {
            Self::Bit => 1,
            Self::TinyInt => 3,
            Self::SmallInt => 5,
            Self::Int | Self::SmallMoney | Self::Null | Self::Date => 10,
            Self::BigInt | Self::Money => 19,
            Self::Decimal { precision, .. } | Self::Numeric { precision, .. } => precision,
            Self::Real => 24,
            Self::Float => 53,
            Self::Time { scale } => {
                if scale == 0 {
                    8
                } else {
                    9 + scale
                }
            }
            Self::SmallDateTime => 16,
            Self::DateTime => 23,
            Self::DateTime2 { scale } => {
                if scale == 0 {
                    19
                } else {
                    20 + scale
                }
            }
            Self::DateTimeOffset { scale } => {
                if scale == 0 {
                    26
                } else {
                    27 + scale
                }
            }
            _ => 0,
        }
    }

    /// `sys.columns.scale`.
    pub fn scale(self) -> u8 {
        match self {
            Self::Decimal { scale, .. }
            | Self::Numeric { scale, .. }
            | Self::Time { scale }
            | Self::DateTime2 { scale }
            | Self::DateTimeOffset { scale } => scale,
            Self::Money | Self::SmallMoney => 4,
            Self::DateTime => 3,
            _ => 0,
        }
    }

    /// True for every type whose values are text and have a collation.
    pub fn is_character(self) -> bool {
        matches!(
            self,
            Self::Char { .. }
                | Self::VarChar { .. }
                | Self::NChar { .. }
                | Self::NVarChar { .. }
                | Self::Text
                | Self::NText
        )
    }

    /// True for `nchar`, `nvarchar`, `ntext` and `xml`, which are UTF-16 on the wire.
    pub fn is_unicode(self) -> bool {
        matches!(
            self,
            Self::NChar { .. } | Self::NVarChar { .. } | Self::NText | Self::Xml
        )
    }

    /// True for types that a client receives in chunks (PLP): the `(max)` types, `xml`, `json` and the CLR types.
    pub fn is_max(self) -> bool {
        matches!(
            self,
            Self::VarChar { len: Length::Max }
                | Self::NVarChar { len: Length::Max }
                | Self::VarBinary { len: Length::Max }
                | Self::Xml
                | Self::Clr(_)
                | Self::Json
        )
    }
}

impl fmt::Display for SqlType {
    /// The type as a column declaration spells it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = |f: &mut fmt::Formatter<'_>, name: &str, len: Length| match len {
            Length::Chars(n) => write!(f, "{name}({n})"),
            Length::Max => write!(f, "{name}(max)"),
        };
        match *self {
            Self::Decimal { precision, scale } | Self::Numeric { precision, scale } => {
                write!(f, "{}({precision},{scale})", self.name())
            }
            Self::Time { scale } | Self::DateTime2 { scale } | Self::DateTimeOffset { scale } => {
                write!(f, "{}({scale})", self.name())
            }
            Self::Char { len } | Self::NChar { len } | Self::Binary { len } => {
                write!(f, "{}({len})", self.name())
            }
            Self::VarChar { len } | Self::NVarChar { len } | Self::VarBinary { len } => {
                length(f, self.name(), len)
            }
            Self::Vector { dimensions } => write!(f, "vector({dimensions})"),
            _ => f.write_str(self.name()),
        }
    }
}

/// The static type of an expression or column: type, collation of text, nullability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeInfo {
    /// The type.
    pub ty: SqlType,
    /// Present exactly for text.
    pub collation: Option<&'static Collation>,
    /// Whether a value may be NULL.
    pub nullable: bool,
}

impl TypeInfo {
    /// A nullable value of `ty`; text gets the server's default collation.
    pub fn new(ty: SqlType) -> Self {
        let collation = ty.is_character().then(Collation::server_default);
        Self {
            ty,
            collation,
            nullable: true,
        }
    }

    /// The same type, declared `NOT NULL`.
    pub fn not_null(self) -> Self {
        Self {
            nullable: false,
            ..self
        }
    }
}
