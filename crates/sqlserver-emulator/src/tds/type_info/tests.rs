use super::*;

#[test]
fn every_type_is_read_as_it_was_written() {
    use SqlType::*;
    let max = Length::Max;
    let types = [
        Bit,
        TinyInt,
        SmallInt,
        Int,
        BigInt,
        Money,
        SmallMoney,
        Real,
        Float,
        Date,
        SmallDateTime,
        DateTime,
        Text,
        NText,
        Image,
        UniqueIdentifier,
        Xml,
        SqlVariant,
        Decimal {
            precision: 38,
            scale: 10,
        },
        Numeric {
            precision: 1,
            scale: 0,
        },
        Time { scale: 0 },
        DateTime2 { scale: 7 },
        DateTimeOffset { scale: 3 },
        Char { len: 8000 },
        VarChar {
            len: Length::Chars(10),
        },
        VarChar { len: max },
        NChar { len: 4000 },
        NVarChar {
            len: Length::Chars(4000),
        },
        NVarChar { len: max },
        Binary { len: 1 },
        VarBinary {
            len: Length::Chars(8000),
        },
        VarBinary { len: max },
    ];
    for ty in types {
        for nullable in [true, false] {
            let collation = ty.is_character().then(|| Collation::find("Greek_CI_AS").unwrap());
            let mut out = Vec::new();
            let layout = write(&mut out, ty, collation, nullable);
            let mut reader = WireReader::over(out);
            let expect = WireType {
                ty,
                collation,
                layout,
            };
            assert_eq!(WireType::read(&mut reader), Ok(expect), "{ty}");
            assert_eq!(reader.at_end(), Ok(true), "{ty}");
        }
    }
}

#[test]
fn an_unknown_collation_keeps_its_code_page() {
    for (wire, name) in [
        ([0x09, 0x04, 0xD0, 0x00, 0x34], "SQL_Latin1_General_CP1_CI_AS"),
        ([0x19, 0x04, 0x00, 0x00, 0x00], "Cyrillic_General_CI_AS"),
        ([0x1B, 0x04, 0xD0, 0x24, 0x00], "Latin1_General_100_CI_AS_SC_UTF8"),
        ([0; 5], "SQL_Latin1_General_CP1_CI_AS"),
    ] {
        assert_eq!(collation_of(wire).name, name, "{wire:x?}");
    }
}

#[test]
fn impossible_types_are_refused() {
    for bytes in [
        &[token::INT_N, 3][..],
        &[token::TIME_N, 8],
        &[token::DECIMAL_N, 17, 39, 0],
        &[token::DECIMAL_N, 17, 5, 6],
        &[0xF0],
        &[0xF3],
        &[token::NVARCHAR, 8],
    ] {
        let mut reader = WireReader::over(bytes.to_vec());
        assert!(WireType::read(&mut reader).is_err(), "{bytes:x?}");
    }
}
