//! The collations that columns can declare: how their text compares and what the wire says of it.

mod sort_key;

/// How a `char`/`varchar` of a collation is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodePage {
    /// A Windows code page by number, 1252 for example.
    Windows(u16),
    /// UTF-8, for `_UTF8` collations.
    Utf8,
}

/// One collation. All are static, so that two columns' collations compare by address or name.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Collation {
    /// `SQL_Latin1_General_CP1_CI_AS`, for example.
    pub name: &'static str,
    /// The Windows locale id.
    pub lcid: u32,
    /// The sort order version in the wire form (0 for the oldest, 2 for `_100_`).
    pub version: u8,
    /// The SQL sort id of `SQL_` collations, else 0.
    pub sort_id: u8,
    /// What `char` and `varchar` are stored in.
    pub code_page: CodePage,
    /// False for `_CI_`.
    pub case_sensitive: bool,
    /// False for `_AI`.
    pub accent_sensitive: bool,
    /// True for `_BIN` and `_BIN2`: compared by code point.
    pub binary: bool,
    /// True for `_SC` and `_UTF8`: LEN and SUBSTRING count code points.
    pub supplementary: bool,
}

const fn latin1(
    name: &'static str,
    version: u8,
    sort_id: u8,
    case_sensitive: bool,
    accent_sensitive: bool,
) -> Collation {
    Collation {
        name,
        lcid: 0x0409,
        version,
        sort_id,
        code_page: CodePage::Windows(1252),
        case_sensitive,
        accent_sensitive,
        binary: false,
        supplementary: false,
    }
}

const fn binary(name: &'static str, version: u8, code_page: CodePage) -> Collation {
    Collation {
        name,
        lcid: 0x0409,
        version,
        sort_id: 0,
        code_page,
        case_sensitive: true,
        accent_sensitive: true,
        binary: true,
        supplementary: false,
    }
}

const fn regional(name: &'static str, lcid: u32, code_page: u16) -> Collation {
    Collation {
        name,
        lcid,
        version: 0,
        sort_id: 0,
        code_page: CodePage::Windows(code_page),
        case_sensitive: false,
        accent_sensitive: true,
        binary: false,
        supplementary: false,
    }
}

const fn utf8(name: &'static str, case_sensitive: bool) -> Collation {
    Collation {
        code_page: CodePage::Utf8,
        supplementary: true,
        ..latin1(name, 2, 0, case_sensitive, true)
    }
}

static COLLATIONS: [Collation; 24] = [
    latin1("SQL_Latin1_General_CP1_CI_AS", 0, 52, false, true),
    latin1("SQL_Latin1_General_CP1_CS_AS", 0, 51, true, true),
    latin1("SQL_Latin1_General_CP1_CI_AI", 0, 54, false, false),
    latin1("Latin1_General_CI_AS", 0, 0, false, true),
    latin1("Latin1_General_CS_AS", 0, 0, true, true),
    latin1("Latin1_General_CI_AI", 0, 0, false, false),
    latin1("Latin1_General_CS_AI", 0, 0, true, false),
    latin1("Latin1_General_100_CI_AS", 2, 0, false, true),
    latin1("Latin1_General_100_CS_AS", 2, 0, true, true),
    latin1("Latin1_General_100_CI_AI", 2, 0, false, false),
    Collation {
        supplementary: true,
        ..latin1("Latin1_General_100_CI_AS_SC", 2, 0, false, true)
    },
    Collation {
        supplementary: true,
        ..latin1("Latin1_General_100_CS_AS_SC", 2, 0, true, true)
    },
    utf8("Latin1_General_100_CI_AS_SC_UTF8", false),
    utf8("Latin1_General_100_CS_AS_SC_UTF8", true),
    binary("Latin1_General_BIN", 0, CodePage::Windows(1252)),
    binary("Latin1_General_BIN2", 0, CodePage::Windows(1252)),
    binary("Latin1_General_100_BIN2", 2, CodePage::Windows(1252)),
    binary("Latin1_General_100_BIN2_UTF8", 2, CodePage::Utf8),
    regional("Cyrillic_General_CI_AS", 0x0419, 1251),
    regional("Greek_CI_AS", 0x0408, 1253),
    regional("Turkish_CI_AS", 0x041F, 1254),
    regional("Japanese_CI_AS", 0x0411, 932),
    regional("Chinese_PRC_CI_AS", 0x0804, 936),
    regional("Polish_CI_AS", 0x0415, 1250),
];

impl Collation {
    /// `SQL_Latin1_General_CP1_CI_AS`, what an installation in English (United States) gets.
    pub fn server_default() -> &'static Self {
        &COLLATIONS[0]
    }

    /// Finds a collation by its name, in any case.
    pub fn find(name: &str) -> Option<&'static Self> {
        COLLATIONS.iter().find(|c| c.name.eq_ignore_ascii_case(name))
    }

    /// Every collation known, for `sys.fn_helpcollations`.
    pub fn all() -> &'static [Self] {
        &COLLATIONS
    }

    /// Appends a byte string whose order and equality are this collation's.
    pub(crate) fn append_sort_key(&self, text: &[u16], out: &mut Vec<u8>) {
        sort_key::append(self, text, out);
    }

    /// The sort key of `text`.
    pub(crate) fn sort_key(&self, text: &[u16]) -> Vec<u8> {
        let mut key = Vec::with_capacity(text.len() * 2 + 2);
        self.append_sort_key(text, &mut key);
        key
    }

    /// The five bytes that TDS carries in COLMETADATA (MS-TDS 2.2.5.1.2): LCID, flags and version, then the sort id.
    pub fn wire(&self) -> [u8; 5] {
        let flag = |on: bool, bit: u32| u32::from(on) << bit;
        let ignores_width_and_kana = !self.binary;
        let info = self.lcid
            | flag(!self.case_sensitive, 20)
            | flag(!self.accent_sensitive, 21)
            | flag(ignores_width_and_kana, 22)
            | flag(ignores_width_and_kana, 23)
            | flag(self.binary && !self.name.contains("BIN2"), 24)
            | flag(self.binary && self.name.contains("BIN2"), 25)
            | flag(self.code_page == CodePage::Utf8, 26)
            | (u32::from(self.version) << 28);
        let [a, b, c, d] = info.to_le_bytes();
        [a, b, c, d, self.sort_id]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_collation_has_the_wire_form_every_capture_shows() {
        assert_eq!(Collation::server_default().wire(), [0x09, 0x04, 0xD0, 0x00, 0x34]);
    }

    fn compare(collation: &str, a: &str, b: &str) -> std::cmp::Ordering {
        let collation = Collation::find(collation).unwrap();
        let key = |text: &str| collation.sort_key(&text.encode_utf16().collect::<Vec<_>>());
        key(a).cmp(&key(b))
    }

    #[test]
    fn sort_keys_order_text_as_the_collation_does() {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let default = "SQL_Latin1_General_CP1_CI_AS";
        for (collation, a, b, expected) in [
            (default, "a", "A ", Equal),
            (default, "a", "á", Less),
            (default, "áa", "ab", Less),
            (default, "a1", "ab", Less),
            (default, "_", "1", Less),
            (default, "ab", "a", Greater),
            ("Latin1_General_CS_AS", "a", "A", Less),
            ("Latin1_General_CS_AS", "A", "b", Less),
            ("Latin1_General_CI_AI", "a", "Á", Equal),
            ("Latin1_General_BIN2", "B", "a", Less),
            ("Latin1_General_BIN2", "a", "a  ", Equal),
        ] {
            assert_eq!(
                compare(collation, a, b),
                expected,
                "{collation}: {a:?} with {b:?}"
            );
        }
    }
}
