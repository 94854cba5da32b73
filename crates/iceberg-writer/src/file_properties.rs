//! How Parquet files are written: by the options, and by what the table's `write.parquet.*` properties ask for.
//!
//! Key columns are written for those who look rows up by key: in small pages, so that a key costs about a thousand rows wherever it
//! is, and with bloom filters where keys come in no order (text, bytes, UUIDs), so that a key that is not there costs none.

use iceberg::spec::{NestedField, PrimitiveType, Schema, TableMetadata};
use model::{Error, ErrorKind, Result};
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use crate::metrics_mode::MetricsMode;
use crate::options::WriterOptions;

/// A page of a key column has about this many bytes, and at least the thousand rows that the writer takes at a time.
const KEY_PAGE_BYTES: usize = 8 << 10;
/// How often a bloom filter takes a value for one that it has.
const FALSE_POSITIVES: f64 = 0.05;
const BLOOM_BYTES: usize = 1 << 20;

/// The properties of files of a table with the columns of `schema`.
pub(crate) fn writer_properties(
    table: &TableMetadata,
    schema: &Schema,
    options: &WriterOptions,
) -> Result<WriterProperties> {
    let asked = Asked { table };
    let group_bytes = asked.number("row-group-size-bytes")?;
    let mut properties = WriterProperties::builder()
        .set_compression(asked.compression(options)?)
        .set_max_row_group_row_count(Some(options.row_group_rows))
        .set_max_row_group_bytes(Some(
            options.row_group_bytes.min(group_bytes.unwrap_or(usize::MAX)),
        ));
    if let Some(bytes) = asked.number("page-size-bytes")? {
        properties = properties.set_data_page_size_limit(bytes);
    }
    if let Some(rows) = asked.number("page-row-limit")? {
        properties = properties.set_data_page_row_count_limit(rows);
    }
    if let Some(bytes) = asked.number("dict-size-bytes")? {
        properties = properties.set_dictionary_page_size_limit(bytes);
    }
    properties = properties.set_statistics_truncate_length(statistics_bytes(table, schema)?);
    let key: Vec<i32> = schema.identifier_field_ids().collect();
    for field in schema.as_struct().fields() {
        let column = ColumnPath::new(vec![field.name.clone()]);
        let is_key = key.contains(&field.id);
        if is_key {
            properties = properties.set_column_data_page_size_limit(column.clone(), KEY_PAGE_BYTES);
        }
        // A key of one column has no value twice: a dictionary of it would only cost.
        if is_key && key.len() == 1 {
            properties = properties.set_column_dictionary_enabled(column.clone(), false);
        }
        if asked.text(&format!("stats-enabled.column.{}", field.name)) == Some("false") {
            properties = properties.set_column_statistics_enabled(column.clone(), EnabledStatistics::None);
        }
        let wanted = asked.text(&format!("bloom-filter-enabled.column.{}", field.name));
        if wanted.map_or(is_key && has_no_order(field), |wanted| wanted == "true") {
            properties = with_bloom(properties, column, asked.bloom(&field.name)?, options);
        }
    }
    Ok(properties.build())
}

/// Bytes that bounds have in the files, so that all columns can be told of as the table asks; `None` for whole ones.
fn statistics_bytes(table: &TableMetadata, schema: &Schema) -> Result<Option<usize>> {
    let mut most = Some(0);
    for field in schema.as_struct().fields() {
        let wanted = MetricsMode::of(table, &field.name)?.statistics_bytes();
        most = most.zip(wanted).map(|(most, wanted)| most.max(wanted));
    }
    Ok(most)
}

/// Whether values of this type seldom grow with time, so that bounds say little.
fn has_no_order(field: &NestedField) -> bool {
    matches!(
        field.field_type.as_primitive_type(),
        Some(PrimitiveType::String | PrimitiveType::Binary | PrimitiveType::Fixed(_) | PrimitiveType::Uuid)
    )
}

/// What a bloom filter is made for.
struct Bloom {
    at_most_bytes: usize,
    false_positives: f64,
    /// Distinct values of a row group, if the table says how many.
    values: Option<usize>,
}

/// The filter is made for a full row group and shrinks to what it holds.
fn with_bloom(
    properties: WriterPropertiesBuilder,
    column: ColumnPath,
    bloom: Bloom,
    options: &WriterOptions,
) -> WriterPropertiesBuilder {
    // It has a power of two of bytes.
    let bytes = 1_usize << bloom.at_most_bytes.ilog2();
    let bits_per_value = -8.0 / (1.0 - bloom.false_positives.powf(1.0 / 8.0)).ln();
    let fits = (bytes as f64 * 8.0 / bits_per_value) as u64;
    let values = bloom.values.unwrap_or(options.row_group_rows) as u64;
    properties
        .set_column_bloom_filter_fpp(column.clone(), bloom.false_positives)
        .set_column_bloom_filter_ndv(column, fits.clamp(1, values))
}

/// What a table's properties ask for.
struct Asked<'a> {
    table: &'a TableMetadata,
}

impl Asked<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        let value = self.table.properties().get(&format!("write.parquet.{name}"))?;
        Some(value.as_str())
    }

    fn number(&self, name: &str) -> Result<Option<usize>> {
        let Some(value) = self.text(name) else {
            return Ok(None);
        };
        match value.parse() {
            Ok(number) if number > 0 => Ok(Some(number)),
            _ => Err(self.refused(name, value, "a number above 0")),
        }
    }

    fn bloom(&self, column: &str) -> Result<Bloom> {
        let name = format!("bloom-filter-fpp.column.{column}");
        let rate = |value: &str| {
            let rate: Option<f64> = value.parse().ok();
            rate.filter(|rate| *rate > 0.0 && *rate < 1.0)
                .ok_or_else(|| self.refused(&name, value, "a number between 0 and 1"))
        };
        Ok(Bloom {
            at_most_bytes: self.number("bloom-filter-max-bytes")?.unwrap_or(BLOOM_BYTES),
            false_positives: self.text(&name).map_or(Ok(FALSE_POSITIVES), rate)?,
            values: self.number(&format!("bloom-filter-ndv.column.{column}"))?,
        })
    }

    /// The table's codec, by default zstd with the level of the options.
    fn compression(&self, options: &WriterOptions) -> Result<Compression> {
        let level = self.text("compression-level").map(|value| {
            let number = value.parse::<i32>();
            number.map_err(|_| self.refused("compression-level", value, "a number"))
        });
        let level = level.transpose()?;
        let out_of_range = |_| {
            let value = self.text("compression-level").unwrap_or_default();
            self.refused("compression-level", value, "a level of the codec")
        };
        match self
            .text("compression-codec")
            .map(str::to_ascii_lowercase)
            .as_deref()
        {
            None | Some("zstd") => match level {
                None => Ok(Compression::ZSTD(options.compression_level()?)),
                Some(level) => Ok(Compression::ZSTD(
                    ZstdLevel::try_new(level).map_err(out_of_range)?,
                )),
            },
            Some("gzip") => match level.map(u32::try_from) {
                None => Ok(Compression::GZIP(GzipLevel::default())),
                Some(level) => {
                    let level = GzipLevel::try_new(level.unwrap_or(u32::MAX)).map_err(out_of_range)?;
                    Ok(Compression::GZIP(level))
                }
            },
            Some("snappy") => Ok(Compression::SNAPPY),
            Some("uncompressed" | "none") => Ok(Compression::UNCOMPRESSED),
            Some(other) => {
                Err(self.refused("compression-codec", other, "zstd, gzip, snappy or uncompressed"))
            }
        }
    }

    fn refused(&self, name: &str, value: &str, wanted: &str) -> Error {
        Error::new(
            ErrorKind::Config,
            format!("the table's property write.parquet.{name} is {value:?}, and not {wanted}"),
        )
        .hint("change the property in the table")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use iceberg::spec::{FormatVersion, PartitionSpec, SortOrder, TableMetadataBuilder, Type};

    use super::*;

    fn table(properties: &[(&str, &str)]) -> TableMetadata {
        let field = |id, name: &str, field_type| {
            Arc::new(NestedField::required(id, name, Type::Primitive(field_type)))
        };
        let schema = Schema::builder()
            .with_fields([
                field(1, "id", PrimitiveType::Long),
                field(2, "guid", PrimitiveType::Uuid),
                field(3, "note", PrimitiveType::String),
            ])
            .with_identifier_field_ids([1, 2])
            .build()
            .unwrap();
        let properties = properties
            .iter()
            .map(|(name, value)| (format!("write.parquet.{name}"), (*value).to_owned()))
            .collect::<HashMap<_, _>>();
        let (spec, order) = (PartitionSpec::unpartition_spec(), SortOrder::unsorted_order());
        TableMetadataBuilder::new(
            schema,
            spec,
            order,
            "memory:/t".into(),
            FormatVersion::V2,
            properties,
        )
        .and_then(TableMetadataBuilder::build)
        .unwrap()
        .metadata
    }

    fn of(properties: &[(&str, &str)]) -> Result<WriterProperties> {
        let table = table(properties);
        writer_properties(&table, table.current_schema(), &WriterOptions::default())
    }

    #[test]
    fn keys_without_order_have_bloom_filters_and_keys_small_pages() {
        let column = |name: &str| ColumnPath::new(vec![name.to_owned()]);
        let written = of(&[]).unwrap();
        for (name, blooms, page) in [
            ("id", false, 8 << 10),
            ("guid", true, 8 << 10),
            ("note", false, 1 << 20),
        ] {
            assert_eq!(
                written.bloom_filter_properties(&column(name)).is_some(),
                blooms,
                "{name}"
            );
            assert_eq!(written.column_data_page_size_limit(&column(name)), page, "{name}");
        }
        let asked = of(&[
            ("bloom-filter-enabled.column.guid", "false"),
            ("bloom-filter-enabled.column.note", "true"),
            ("bloom-filter-max-bytes", "70000"),
        ]);
        let asked = asked.unwrap();
        assert!(asked.bloom_filter_properties(&column("guid")).is_none());
        let ndv = asked.bloom_filter_properties(&column("note")).unwrap().ndv;
        assert!((70_000..80_000).contains(&ndv), "{ndv}");
        let asked = of(&[
            ("bloom-filter-fpp.column.guid", "0.01"),
            ("bloom-filter-ndv.column.guid", "1000"),
            ("stats-enabled.column.note", "false"),
        ]);
        let asked = asked.unwrap();
        let bloom = asked.bloom_filter_properties(&column("guid")).unwrap();
        assert_eq!((bloom.fpp, bloom.ndv), (0.01, 1_000));
        assert_eq!(asked.statistics_enabled(&column("note")), EnabledStatistics::None);
        assert_eq!(asked.statistics_enabled(&column("guid")), EnabledStatistics::Page);
    }

    #[test]
    fn bounds_in_files_are_as_long_as_the_table_asks() {
        let with = |name: &str, mode: &str| {
            let mut table = table(&[]);
            let name = format!("write.metadata.metrics.{name}");
            table = table
                .into_builder(None)
                .set_properties([(name, mode.to_owned())].into())
                .and_then(TableMetadataBuilder::build)
                .unwrap()
                .metadata;
            writer_properties(&table, table.current_schema(), &WriterOptions::default())
        };
        for (name, mode, length) in [
            ("default", "truncate(16)", Some(64)),
            ("default", "truncate(100)", Some(400)),
            ("column.note", "truncate(100)", Some(400)),
            ("column.note", "counts", Some(64)),
            ("column.note", "full", None),
        ] {
            assert_eq!(
                with(name, mode).unwrap().statistics_truncate_length(),
                length,
                "{name} {mode}"
            );
        }
        let refused = with("column.note", "half").unwrap_err();
        assert!(
            refused.message().contains("write.metadata.metrics.column.note"),
            "{refused}"
        );
    }

    #[test]
    fn the_tables_codec_and_sizes_are_taken() {
        let column = ColumnPath::new(vec!["note".to_owned()]);
        let zstd = |level| Compression::ZSTD(ZstdLevel::try_new(level).unwrap());
        for (properties, codec) in [
            (&[][..], zstd(3)),
            (
                &[("compression-codec", "ZSTD"), ("compression-level", "9")],
                zstd(9),
            ),
            (&[("compression-codec", "snappy")], Compression::SNAPPY),
            (
                &[("compression-codec", "uncompressed")],
                Compression::UNCOMPRESSED,
            ),
        ] {
            assert_eq!(of(properties).unwrap().compression(&column), codec);
        }
        let sized = of(&[
            ("row-group-size-bytes", "1000"),
            ("page-size-bytes", "2000"),
            ("page-row-limit", "300"),
            ("dict-size-bytes", "4000"),
        ]);
        let sized = sized.unwrap();
        assert_eq!(sized.max_row_group_bytes(), Some(1_000));
        assert_eq!(sized.column_data_page_size_limit(&column), 2_000);
        assert_eq!(sized.data_page_row_count_limit(), 300);
        assert_eq!(sized.column_dictionary_page_size_limit(&column), 4_000);
        for refused in [
            ("compression-codec", "brotli"),
            ("compression-level", "99"),
            ("page-row-limit", "0"),
            ("row-group-size-bytes", "64 MB"),
            ("bloom-filter-fpp.column.guid", "1"),
            ("bloom-filter-ndv.column.guid", "many"),
        ] {
            let error = of(&[refused]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.message().contains(refused.0), "{error}");
        }
    }
}
