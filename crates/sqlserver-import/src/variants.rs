//! A column of type `sql_variant` in a staging table. It is loaded as two texts, the declaration of a value and the value; the server
//! makes the variant of them.

use std::sync::Arc;

use arrow_array::builder::LargeStringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use model::Result;
use sqlserver_client::variant::{self, VariantText};
use sqlserver_client::{SqlType, quote};

use crate::target::TargetColumn;

/// The names of its columns.
pub(crate) struct StagedVariant {
    made: String,
    declaration: String,
    text: String,
}

impl StagedVariant {
    /// `None` if the column is of another type.
    pub(crate) fn of(column: &TargetColumn) -> Option<Self> {
        let made = column.staged();
        (column.ty == SqlType::SqlVariant).then(|| Self {
            declaration: format!("{made}_type"),
            text: format!("{made}_text"),
            made,
        })
    }

    /// The columns that are loaded.
    pub(crate) fn loaded(self) -> [String; 2] {
        [self.declaration, self.text]
    }

    /// Selects each `declaration` once.
    pub(crate) fn types(&self, stage: &str) -> String {
        let declaration = &self.declaration;
        format!("SELECT DISTINCT {declaration} AS declaration FROM {stage} WHERE {declaration} IS NOT NULL")
    }

    /// Makes the variants of these declarations.
    pub(crate) fn make(&self, stage: &str, declarations: &[&str]) -> Result<String> {
        let (made, declaration) = (&self.made, &self.declaration);
        let mut cases = String::new();
        for declared in declarations {
            let value = variant::from_text(declared, &self.text)?;
            cases += &format!(" WHEN {} THEN {value}", quote::literal(declared));
        }
        let these = declarations.iter().map(|declared| quote::literal(declared));
        let these = these.collect::<Vec<_>>().join(", ");
        Ok(format!(
            "UPDATE {stage} SET {made} = CASE {declaration}{cases} END WHERE {declaration} IN ({these});"
        ))
    }

    /// Counts the variants that do not read as they were loaded.
    pub(crate) fn altered(&self, stage: &str) -> String {
        let Self {
            made,
            declaration,
            text,
        } = self;
        let value = variant::value_of(made);
        format!(
            "SELECT COUNT_BIG(*) AS n FROM {stage} WHERE {declaration} IS NOT NULL AND ({made} IS NULL \
             OR CAST({value} AS varbinary(max)) <> CAST({text} AS varbinary(max)) OR DATALENGTH({value}) <> DATALENGTH({text}))"
        )
    }
}

/// The declarations and the values of a column of variants.
pub(crate) fn take_apart(array: &ArrayRef) -> Result<[ArrayRef; 2]> {
    let (mut declarations, mut texts) = (LargeStringBuilder::new(), LargeStringBuilder::new());
    for row in 0..array.len() {
        let json = match array.data_type() {
            _ if array.is_null(row) => None,
            DataType::Utf8 => Some(array.as_string::<i32>().value(row)),
            _ => Some(array.as_string::<i64>().value(row)),
        };
        let variant = json.map(VariantText::read).transpose()?;
        declarations.append_option(variant.as_ref().map(VariantText::declaration));
        texts.append_option(variant.map(|variant| variant.value));
    }
    Ok([Arc::new(declarations.finish()), Arc::new(texts.finish())])
}
