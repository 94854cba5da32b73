//! Partitioning and sorting as the configuration says them, in Iceberg's terms.
//!
//! A partition field is a column, or a transform of one: `bucket(16, id)`, `truncate(4, name)`, `year(at)`, `month(at)`, `day(at)`,
//! `hour(at)`, `void(id)`. A sort field is either of these, followed by `asc` or `desc` and by `nulls first` or `nulls last`.

use iceberg::spec::{
    NullOrder, PartitionField, Schema, SortDirection, SortField, SortOrder, TableMetadata, Transform,
    UnboundPartitionField, UnboundPartitionSpec,
};
use model::{Error, ErrorKind, Result};

/// A column, perhaps transformed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    transform: Transform,
    column: String,
}

/// Checks that the fields can be understood; whether there are such columns is another matter.
pub(crate) fn validate(partition: &[String], sort: &[String]) -> Result<()> {
    partition
        .iter()
        .try_for_each(|field| Term::parse(field).map(|_| ()))?;
    sort.iter().try_for_each(|field| parse_sort(field).map(|_| ()))
}

/// The partition spec of these fields. A field that is `known`, from another spec of the table, keeps its id and name.
pub(crate) fn partition_spec(
    fields: &[String],
    schema: &Schema,
    known: &[&PartitionField],
) -> Result<UnboundPartitionSpec> {
    let mut spec = UnboundPartitionSpec::builder();
    for field in fields {
        let term = Term::parse(field)?;
        let source_id = term.source(schema)?;
        let same = known
            .iter()
            .find(|known| known.source_id == source_id && known.transform == term.transform);
        let field = match same {
            Some(known) => (*known).clone().into_unbound(),
            None => UnboundPartitionField {
                source_id,
                field_id: None,
                name: term.partition_name(),
                transform: term.transform,
            },
        };
        spec = spec
            .add_partition_fields([field])
            .map_err(|e| misfit(e, fields))?;
    }
    let spec = spec.build();
    // Binding tells whether the transforms fit the columns.
    spec.clone().bind(schema.clone()).map_err(|e| misfit(e, fields))?;
    Ok(spec)
}

/// Whether a table is partitioned like this.
pub(crate) fn is_partitioned_by(metadata: &TableMetadata, spec: &UnboundPartitionSpec) -> bool {
    let present = metadata.default_partition_spec().fields();
    present.len() == spec.fields().len()
        && present.iter().zip(spec.fields()).all(|(present, wanted)| {
            present.source_id == wanted.source_id && present.transform == wanted.transform
        })
}

/// The sort order of these fields.
pub(crate) fn sort_order(fields: &[String], schema: &Schema) -> Result<SortOrder> {
    let mut order = SortOrder::builder();
    for field in fields {
        let (term, direction, null_order) = parse_sort(field)?;
        order.with_sort_field(
            SortField::builder()
                .source_id(term.source(schema)?)
                .transform(term.transform)
                .direction(direction)
                .null_order(null_order)
                .build(),
        );
    }
    order.build(schema).map_err(|e| misfit(e, fields))
}

fn misfit(error: iceberg::Error, fields: &[String]) -> Error {
    Error::new(ErrorKind::Config, "an Iceberg table cannot be laid out like that")
        .with("by", fields.join(", "))
        .with("cause", error.message().to_owned())
        .hint("check that each transform fits its column's type, and that no field is named twice")
        .caused_by(error)
}

impl Term {
    fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let Some((name, arguments)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) else {
            return match text {
                "" => Err(unclear(text)),
                column => Ok(Self {
                    transform: Transform::Identity,
                    column: column.to_owned(),
                }),
            };
        };
        let width = || {
            let (width, column) = arguments.split_once(',')?;
            let width = width.trim().parse().ok().filter(|width| *width > 0)?;
            Some((width, column))
        };
        let (transform, column) = match name.trim().to_ascii_lowercase().as_str() {
            "identity" => (Transform::Identity, arguments),
            "year" => (Transform::Year, arguments),
            "month" => (Transform::Month, arguments),
            "day" => (Transform::Day, arguments),
            "hour" => (Transform::Hour, arguments),
            "void" => (Transform::Void, arguments),
            "bucket" => width()
                .map(|(width, column)| (Transform::Bucket(width), column))
                .ok_or_else(|| unclear(text))?,
            "truncate" => width()
                .map(|(width, column)| (Transform::Truncate(width), column))
                .ok_or_else(|| unclear(text))?,
            _ => return Err(unclear(text)),
        };
        match column.trim() {
            "" => Err(unclear(text)),
            column => Ok(Self {
                transform,
                column: column.to_owned(),
            }),
        }
    }

    fn source(&self, schema: &Schema) -> Result<i32> {
        let column = schema.as_struct().field_by_name(&self.column);
        column.map(|column| column.id).ok_or_else(|| {
            Error::new(
                ErrorKind::Config,
                "an Iceberg table is to be laid out by a column that it does not have",
            )
            .with("column", &self.column)
            .hint("columns are named as in the Iceberg table, upper and lower case included")
        })
    }

    /// The name that Spark would give the field.
    fn partition_name(&self) -> String {
        let column = &self.column;
        match self.transform {
            Transform::Bucket(buckets) => format!("{column}_bucket_{buckets}"),
            Transform::Truncate(width) => format!("{column}_trunc_{width}"),
            Transform::Year => format!("{column}_year"),
            Transform::Month => format!("{column}_month"),
            Transform::Day => format!("{column}_day"),
            Transform::Hour => format!("{column}_hour"),
            Transform::Void => format!("{column}_null"),
            Transform::Identity | Transform::Unknown => column.clone(),
        }
    }
}

fn parse_sort(text: &str) -> Result<(Term, SortDirection, NullOrder)> {
    let mut rest = text.trim();
    let mut strip = |suffix: &str| {
        let start = rest.len().checked_sub(suffix.len());
        let found = start.filter(|start| {
            rest.get(*start..)
                .is_some_and(|end| end.eq_ignore_ascii_case(suffix))
        });
        match found {
            Some(start) => {
                rest = rest[..start].trim_end();
                true
            }
            None => false,
        }
    };
    let nulls = if strip(" nulls first") {
        Some(NullOrder::First)
    } else if strip(" nulls last") {
        Some(NullOrder::Last)
    } else {
        None
    };
    let direction = if strip(" desc") {
        SortDirection::Descending
    } else {
        strip(" asc");
        SortDirection::Ascending
    };
    let by_default = match direction {
        SortDirection::Ascending => NullOrder::First,
        SortDirection::Descending => NullOrder::Last,
    };
    Ok((Term::parse(rest)?, direction, nulls.unwrap_or(by_default)))
}

fn unclear(text: &str) -> Error {
    Error::new(
        ErrorKind::Config,
        format!("{text:?} is neither a column nor a transform of one"),
    )
    .hint("write a column, or for example bucket(16, id), truncate(4, name), year(at), month(at), day(at), hour(at), void(id)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_understood() {
        for (text, expected) in [
            ("region", Some((Transform::Identity, "region"))),
            (" a column ", Some((Transform::Identity, "a column"))),
            ("identity(id)", Some((Transform::Identity, "id"))),
            ("bucket(16, id)", Some((Transform::Bucket(16), "id"))),
            ("Truncate( 4 ,name )", Some((Transform::Truncate(4), "name"))),
            ("day(at)", Some((Transform::Day, "at"))),
            ("void(id)", Some((Transform::Void, "id"))),
            ("", None),
            ("bucket(id)", None),
            ("bucket(0, id)", None),
            ("bucket(-1, id)", None),
            ("day()", None),
            ("week(at)", None),
        ] {
            let parsed = Term::parse(text).map(|term| (term.transform, term.column));
            let expected = expected.map(|(transform, column)| (transform, column.to_owned()));
            assert_eq!(parsed.ok(), expected, "{text}");
        }
    }

    #[test]
    fn sort_fields_are_understood() {
        use NullOrder::{First, Last};
        use SortDirection::{Ascending, Descending};
        for (text, column, direction, nulls) in [
            ("id", "id", Ascending, First),
            ("id asc", "id", Ascending, First),
            ("id DESC", "id", Descending, Last),
            ("id desc nulls first", "id", Descending, First),
            ("day(at) Nulls Last", "at", Ascending, Last),
        ] {
            let (term, found_direction, found_nulls) = parse_sort(text).unwrap();
            assert_eq!(
                (term.column.as_str(), found_direction, found_nulls),
                (column, direction, nulls),
                "{text}"
            );
        }
    }
}
