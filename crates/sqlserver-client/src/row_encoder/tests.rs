use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float64Array,
    Int32Array, Int64Array, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};

use super::*;

fn latin1() -> CodePage {
    CodePage::new(|text| text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect())
}

fn encode(ty: &str, array: ArrayRef) -> Result<Vec<u8>> {
    let column = BulkColumn {
        name: "c".into(),
        ty: ty.parse().unwrap(),
    };
    let batch = RecordBatch::try_from_iter_with_nullable([("c", array, true)]).unwrap();
    let mut out = Vec::new();
    encode_batch(&batch, &[(column, Some(latin1()))], 0xD1, &mut out)?;
    Ok(out)
}

fn int(value: i32) -> ArrayRef {
    Arc::new(Int32Array::from(vec![value]))
}

fn long(value: i64) -> ArrayRef {
    Arc::new(Int64Array::from(vec![value]))
}

fn decimal(unscaled: i128, scale: i8) -> ArrayRef {
    Arc::new(
        Decimal128Array::from(vec![unscaled])
            .with_precision_and_scale(38, scale)
            .unwrap(),
    )
}

fn timestamp(micros: i64) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(vec![micros]))
}

fn utc(micros: i64) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(vec![micros]).with_timezone("UTC"))
}

fn text(value: &str) -> ArrayRef {
    Arc::new(StringArray::from(vec![value]))
}

fn binary(value: &[u8]) -> ArrayRef {
    Arc::new(BinaryArray::from(vec![value]))
}

fn date(value: i32) -> ArrayRef {
    Arc::new(Date32Array::from(vec![value]))
}

fn time(micros: i64) -> ArrayRef {
    Arc::new(Time64MicrosecondArray::from(vec![micros]))
}

fn guid() -> ArrayRef {
    let bytes = [
        0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
    ];
    Arc::new(FixedSizeBinaryArray::try_from_iter([bytes].into_iter()).unwrap())
}

#[test]
fn values_have_their_wire_form() {
    let cases: Vec<(&str, ArrayRef, Vec<u8>)> = vec![
        ("bit", Arc::new(BooleanArray::from(vec![true])), vec![1, 1]),
        ("tinyint", int(255), vec![1, 255]),
        ("smallint", int(-2), vec![2, 0xFE, 0xFF]),
        ("int", long(1), vec![4, 1, 0, 0, 0]),
        ("bigint", long(i64::MIN), vec![8, 0, 0, 0, 0, 0, 0, 0, 0x80]),
        ("money", decimal(12345, 4), vec![8, 0, 0, 0, 0, 0x39, 0x30, 0, 0]),
        (
            "money",
            decimal(i128::from(i64::MIN), 4),
            vec![8, 0, 0, 0, 0x80, 0, 0, 0, 0],
        ),
        ("smallmoney", decimal(15, 1), vec![4, 0x98, 0x3A, 0, 0]),
        ("decimal(9,2)", decimal(-5, 1), vec![5, 0, 50, 0, 0, 0]),
        ("decimal(19,0)", decimal(1, 0), vec![9, 1, 1, 0, 0, 0, 0, 0, 0, 0]),
        ("decimal(38,0)", int(-1), [&[17, 0, 1][..], &[0; 15]].concat()),
        (
            "float",
            Arc::new(Float64Array::from(vec![-0.0])),
            vec![8, 0, 0, 0, 0, 0, 0, 0, 0x80],
        ),
        ("date", date(-719_162), vec![3, 0, 0, 0]),
        ("date", date(2_932_896), vec![3, 0xDA, 0xB9, 0x37]),
        ("time(0)", time(1_000_000), vec![3, 1, 0, 0]),
        ("time(7)", time(1), vec![5, 10, 0, 0, 0, 0]),
        (
            "datetime",
            timestamp(-6_847_804_800_000_000),
            vec![8, 0x46, 0x2E, 0xFF, 0xFF, 0, 0, 0, 0],
        ),
        (
            "smalldatetime",
            timestamp(3_453_321_540_000_000),
            vec![4, 0xFF, 0xFF, 0x9F, 0x05],
        ),
        (
            "datetime2(6)",
            timestamp(-62_135_596_800_000_000),
            vec![8, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
        (
            "datetimeoffset(0)",
            utc(0),
            vec![8, 0, 0, 0, 0x3A, 0xF9, 0x0A, 0, 0],
        ),
        ("nvarchar(4)", text("aä"), vec![4, 0, b'a', 0, 0xE4, 0]),
        ("nvarchar(max)", text(""), vec![0; 12]),
        (
            "nvarchar(max)",
            text("a"),
            vec![2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, b'a', 0, 0, 0, 0, 0],
        ),
        ("varchar(2)", text("ä"), vec![1, 0, 0xE4]),
        ("varbinary(4)", binary(&[]), vec![0, 0]),
        ("binary(2)", binary(&[0, 1]), vec![2, 0, 0, 1]),
        ("char(3)", text("a  "), vec![3, 0, b'a', b' ', b' ']),
        ("nchar(2)", text("\u{1F600}"), vec![4, 0, 0x3D, 0xD8, 0x00, 0xDE]),
        (
            "uniqueidentifier",
            guid(),
            vec![
                16, 0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee,
                0xff,
            ],
        ),
    ];
    for (ty, array, bytes) in cases {
        assert_eq!(encode(ty, array).unwrap(), bytes, "{ty}");
    }
}

#[test]
fn nulls_and_rows_follow_each_other() {
    let ints: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None]));
    assert_eq!(encode("tinyint", ints).unwrap(), [1, 1, 0xD1, 0]);
    let texts: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>]));
    assert_eq!(encode("nvarchar(9)", texts.clone()).unwrap(), [0xFF, 0xFF]);
    assert_eq!(encode("nvarchar(max)", texts).unwrap(), [0xFF; 8]);
}

#[test]
fn what_does_not_fit_is_refused_with_the_column() {
    let cases: Vec<(&str, ArrayRef)> = vec![
        ("tinyint", int(256)),
        ("tinyint", int(-1)),
        ("smallint", int(32_768)),
        ("int", long(1 << 31)),
        ("decimal(3,0)", decimal(1000, 0)),
        ("decimal(9,1)", decimal(5, 2)),
        ("money", decimal(1 << 64, 4)),
        ("smallmoney", decimal(1 << 31, 4)),
        ("float", Arc::new(Float64Array::from(vec![f64::NAN]))),
        ("date", date(2_932_897)),
        ("time(3)", time(1)),
        ("time(7)", time(86_400_000_000)),
        ("datetime", timestamp(1)),
        ("smalldatetime", timestamp(1)),
        ("datetime2(0)", timestamp(1)),
        ("datetime2(6)", timestamp(253_402_300_800_000_000)),
        ("nvarchar(1)", text("\u{1F600}")),
        ("varchar(1)", text("ab")),
        ("varchar(9)", text("\u{20AC}")),
        ("varbinary(1)", binary(&[1, 2])),
    ];
    for (ty, array) in cases {
        let error = encode(ty, array).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data, "{ty}");
        assert!(error.message().contains("\"c\""), "{error}");
    }
    let error = encode("int", text("1")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SchemaMismatch);
}

#[test]
fn nothing_is_left_to_be_padded() {
    for (ty, array) in [
        ("char(10)", text("abc")),
        ("char(1)", text("")),
        ("nchar(10)", text("abc")),
        ("nchar(2)", text("ä")),
        ("binary(4)", binary(&[1])),
    ] {
        let error = encode(ty, array).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data, "{ty}");
        assert!(error.message().contains("pad"), "{error}");
        assert!(error.advice().contains("varchar"), "{}", error.advice());
    }
}

#[test]
fn what_a_column_cannot_hold_is_known_before_it_is_loaded() {
    for (ty, array, held) in [
        ("tinyint", int(255), true),
        ("tinyint", int(300), false),
        ("nvarchar(2)", text("é𝄞"), false),
        ("nvarchar(3)", text("é𝄞"), true),
        // How many bytes they take is the code page's affair.
        ("varchar(2)", text("日本"), true),
        ("varchar(2)", text("abc"), false),
        ("varbinary(1)", binary(&[1, 2]), false),
        ("decimal(3,1)", decimal(125, 2), false),
        ("decimal(3,1)", decimal(120, 2), true),
        ("int", Arc::new(Int32Array::from(vec![None])), true),
        // That is no question of the value.
        ("int", text("1"), true),
    ] {
        let found = can_hold(ty.parse().unwrap(), array.as_ref());
        assert_eq!(found.value(0), held, "{ty}: {array:?}");
    }
}
