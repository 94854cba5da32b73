use arrow_schema::Schema as ArrowSchema;

use super::*;

fn schema(fields: &[(&str, DataType, bool)], key: &[usize]) -> Arc<TableSchema> {
    let declared = fields.iter().map(|(name, ..)| {
        name.starts_with('n').then(|| DeclaredType {
            declared: format!("nvarchar({})", name.len()),
            collation: Some("Latin1_General_CI_AS".into()),
        })
    });
    let declared = declared.collect();
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, ty, null)| Field::new(*name, ty.clone(), *null))
        .collect();
    TableSchema::new(Arc::new(ArrowSchema::new(fields)), key.to_vec(), declared).unwrap()
}

fn every_type() -> Arc<TableSchema> {
    use DataType::{
        Binary, Boolean, Date32, Decimal128, FixedSizeBinary, Float32, Float64, Int32, Int64, Utf8,
    };
    schema(
        &[
            ("a", Int64, false),
            ("name", Utf8, false),
            ("b", Boolean, true),
            ("c", Int32, true),
            ("d", Float32, true),
            ("e", Float64, true),
            ("f", Decimal128(38, 10), true),
            ("g", Date32, true),
            ("h", DataType::Time64(TimeUnit::Microsecond), true),
            ("i", DataType::Timestamp(TimeUnit::Microsecond, None), true),
            (
                "j",
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                true,
            ),
            ("k", Binary, true),
            ("l", FixedSizeBinary(16), true),
            ("n x.y", Utf8, true),
        ],
        &[1, 0],
    )
}

#[test]
fn a_schema_comes_back_as_itself_with_key_order_and_declared_types() {
    let original = every_type();
    let iceberg = iceberg_schema(&original).unwrap();
    let properties = schema_properties(&original, &iceberg).unwrap();
    assert_eq!(table_schema(&iceberg, &properties).unwrap(), original);
    assert_eq!(
        field_ids(&original, &iceberg).unwrap(),
        (1..=14).collect::<Vec<_>>()
    );
}

#[test]
fn without_our_properties_the_key_is_in_column_order() {
    let iceberg = iceberg_schema(&every_type()).unwrap();
    assert_eq!(table_schema(&iceberg, &HashMap::new()).unwrap().key(), [0, 1]);
    let stale = HashMap::from([(KEY.to_owned(), "[3,1]".to_owned())]);
    assert_eq!(table_schema(&iceberg, &stale).unwrap().key(), [0, 1]);
    let damaged = HashMap::from([(KEY.to_owned(), "[3".to_owned())]);
    assert_eq!(
        table_schema(&iceberg, &damaged).unwrap_err().kind(),
        ErrorKind::Corrupt
    );
}

#[test]
fn wide_text_and_binary_are_the_same_iceberg_type() {
    let wide = schema(
        &[
            ("a", DataType::LargeUtf8, true),
            ("b", DataType::LargeBinary, true),
        ],
        &[],
    );
    let narrow = schema(&[("b", DataType::Binary, true), ("a", DataType::Utf8, true)], &[]);
    let types = |schema: &TableSchema| {
        let iceberg = iceberg_schema(schema).unwrap();
        let mut types: Vec<_> = iceberg
            .as_struct()
            .fields()
            .iter()
            .map(|f| (f.name.clone(), f.field_type.clone()))
            .collect();
        types.sort_by(|a, b| a.0.cmp(&b.0));
        types
    };
    assert_eq!(types(&wide), types(&narrow));
}

#[test]
fn a_column_type_that_is_not_mapped_is_named() {
    let decimal = schema(&[("odd", DataType::Decimal128(5, -2), true)], &[]);
    let error = iceberg_schema(&decimal).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("\"odd\""), "{error}");
}
