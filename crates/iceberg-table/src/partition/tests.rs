use std::sync::Arc;

use arrow_array::{
    BinaryArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Int32Array, Int64Array, StringArray,
    Time64MicrosecondArray, TimestampMicrosecondArray,
};
use iceberg::spec::{NestedField, PrimitiveType, Transform, UnboundPartitionSpec};

use super::*;

fn partitions(source: PrimitiveType, transform: Transform, column: ArrayRef) -> Vec<Option<Literal>> {
    let field = NestedField::optional(1, "c", Type::Primitive(source));
    let schema = Schema::builder().with_fields([Arc::new(field)]).build().unwrap();
    let spec = UnboundPartitionSpec::builder()
        .add_partition_field(1, "p", transform)
        .unwrap()
        .build()
        .bind(schema.clone())
        .unwrap();
    PartitionField::of_spec(&spec, &schema).unwrap()[0]
        .values(&column)
        .unwrap()
}

/// The hashes that the specification gives for some values, modulo the number of buckets.
#[test]
fn buckets_are_those_of_the_specification() {
    use PrimitiveType::{Binary, Date, Decimal, Int, Long, String, Time, Timestamp, Uuid};
    let of = |hash: i32| (hash & i32::MAX) % 1000;
    let decimal = Decimal128Array::from(vec![1420])
        .with_precision_and_scale(9, 2)
        .unwrap();
    let uuid = 0xf79c_3e09_677c_4bbd_a479_3f34_9cb7_85e7_u128.to_be_bytes();
    // 2017-11-16, and 22:31:08 of it.
    let (day, time) = (17_486, 81_068_000_000_i64);
    let instant = i64::from(day) * 86_400_000_000 + time;
    let cases: Vec<(PrimitiveType, ArrayRef, i32)> = vec![
        (Int, Arc::new(Int32Array::from(vec![34])), 2_017_239_379),
        (Long, Arc::new(Int64Array::from(vec![34])), 2_017_239_379),
        (
            Decimal {
                precision: 9,
                scale: 2,
            },
            Arc::new(decimal),
            -500_754_589,
        ),
        (Date, Arc::new(Date32Array::from(vec![day])), -653_330_422),
        (
            Time,
            Arc::new(Time64MicrosecondArray::from(vec![time])),
            -662_762_989,
        ),
        (
            Timestamp,
            Arc::new(TimestampMicrosecondArray::from(vec![instant])),
            -2_047_944_441,
        ),
        (
            String,
            Arc::new(StringArray::from(vec!["iceberg"])),
            1_210_000_089,
        ),
        (
            Uuid,
            Arc::new(FixedSizeBinaryArray::try_from_iter([uuid].into_iter()).unwrap()),
            1_488_055_340,
        ),
        (
            Binary,
            Arc::new(BinaryArray::from(vec![&[0_u8, 1, 2, 3][..]])),
            -188_683_207,
        ),
    ];
    for (source, column, hash) in cases {
        let found = partitions(source.clone(), Transform::Bucket(1000), column);
        assert_eq!(found, [Some(Literal::int(of(hash)))], "{source}");
    }
}

/// Values from the specification's table of transforms, and dates before 1970.
#[test]
fn other_transforms_are_those_of_the_specification() {
    use PrimitiveType::{Binary, Date, Int, Long, String, Timestamp, Timestamptz};
    let texts = |texts: Vec<Option<&str>>| -> ArrayRef { Arc::new(StringArray::from(texts)) };
    let instants = |values: Vec<i64>| TimestampMicrosecondArray::from(values);
    let cases: Vec<(PrimitiveType, Transform, ArrayRef, Vec<Option<Literal>>)> = vec![
        (
            Int,
            Transform::Truncate(10),
            Arc::new(Int32Array::from(vec![Some(1), Some(-1), None])),
            vec![Some(Literal::int(0)), Some(Literal::int(-10)), None],
        ),
        (
            Long,
            Transform::Identity,
            Arc::new(Int64Array::from(vec![Some(7), None])),
            vec![Some(Literal::long(7)), None],
        ),
        (
            String,
            Transform::Truncate(3),
            texts(vec![Some("iceberg"), Some("𝒳𝒳𝒳𝒳"), Some(""), None]),
            vec![
                Some(Literal::string("ice")),
                Some(Literal::string("𝒳𝒳𝒳")),
                Some(Literal::string("")),
                None,
            ],
        ),
        (
            Binary,
            Transform::Truncate(2),
            Arc::new(BinaryArray::from(vec![Some(&[1_u8, 2, 3][..]), None])),
            vec![Some(Literal::binary(vec![1, 2])), None],
        ),
        (
            Date,
            Transform::Month,
            Arc::new(Date32Array::from(vec![17_486, -1])),
            vec![Some(Literal::int(574)), Some(Literal::int(-1))],
        ),
        (
            Timestamp,
            Transform::Year,
            Arc::new(instants(vec![0, -1])),
            vec![Some(Literal::int(0)), Some(Literal::int(-1))],
        ),
        (
            Timestamptz,
            Transform::Day,
            Arc::new(instants(vec![86_400_000_000, -1, -86_400_000_001]).with_timezone("UTC")),
            vec![
                Some(Literal::date(1)),
                Some(Literal::date(-1)),
                Some(Literal::date(-2)),
            ],
        ),
        // 23:59:59.997 and .5, the last values of `datetime` in a day, on the last day but one before 1970.
        (
            Timestamp,
            Transform::Day,
            Arc::new(instants(vec![-86_400_003_000, -86_400_500_000, -3_000])),
            vec![
                Some(Literal::date(-2)),
                Some(Literal::date(-2)),
                Some(Literal::date(-1)),
            ],
        ),
        // The same moments of the last month, year and hour but one.
        (
            Timestamp,
            Transform::Month,
            Arc::new(instants(vec![-31 * 86_400_000_000 - 3_000])),
            vec![Some(Literal::int(-2))],
        ),
        (
            Timestamp,
            Transform::Year,
            Arc::new(instants(vec![-365 * 86_400_000_000 - 3_000])),
            vec![Some(Literal::int(-2))],
        ),
        (
            Timestamp,
            Transform::Hour,
            Arc::new(instants(vec![-3_600_003_000])),
            vec![Some(Literal::int(-2))],
        ),
        (
            Timestamp,
            Transform::Hour,
            Arc::new(instants(vec![3_600_000_000, -1])),
            vec![Some(Literal::int(1)), Some(Literal::int(-1))],
        ),
        (
            Int,
            Transform::Void,
            Arc::new(Int32Array::from(vec![1])),
            vec![None],
        ),
    ];
    for (source, transform, column, expected) in cases {
        let found = partitions(source.clone(), transform, column);
        assert_eq!(found, expected, "{transform} of {source}");
    }
}
