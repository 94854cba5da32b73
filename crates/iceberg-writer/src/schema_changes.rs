//! What becomes of a table's schema when the source's columns are no longer the table's.
//!
//! Columns keep their field ids whatever happens to their names, types and places, so older files stay readable and older
//! snapshots stay what they were. A dropped column's data stays in its files; a column that comes back under its name is a new one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use iceberg::TableUpdate;
use iceberg::spec::{NestedField, NestedFieldRef, PrimitiveType, Schema, Transform, Type};
use iceberg_table::{NAME_MAPPING, TableHandle, iceberg_error, iceberg_schema};
use model::{Error, ErrorKind, Result, TableSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::table_options::TableOptions;

/// What is done when the source's columns are not the table's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SchemaPolicy {
    /// The table fails, and says how the columns differ.
    #[default]
    Exception,
    /// The table follows: columns are added, dropped, put in order, widened and made optional. What it cannot follow fails.
    Evolve,
    /// As `evolve`, but what it cannot follow is left out, and said.
    TryEvolve,
    /// Columns are added, widened and made optional, and none is dropped: what the source no longer delivers is NULL from now on. What
    /// the table cannot follow is left out, and said.
    Lenient,
    /// The table's columns stay as they are. What it lacks is left out and what it has more is NULL, and both are said.
    Ignore,
}

impl SchemaPolicy {
    /// Whether the table's schema may be changed.
    fn follows(self) -> bool {
        matches!(self, Self::Evolve | Self::TryEvolve | Self::Lenient)
    }

    /// Whether rows may be written without some of their columns, and columns be left NULL.
    pub(crate) fn leaves_out(self) -> bool {
        matches!(self, Self::TryEvolve | Self::Lenient | Self::Ignore)
    }

    fn drops(self) -> bool {
        matches!(self, Self::Evolve | Self::TryEvolve)
    }
}

/// How a table's schema is brought to what the source delivers.
#[derive(Debug, Default)]
pub(crate) struct SchemaChanges {
    /// What is done in words, and
    pub(crate) actions: Vec<String>,
    /// what is lost by it.
    pub(crate) losses: Vec<String>,
    pub(crate) updates: Vec<TableUpdate>,
    /// The schema afterwards, if it changes.
    pub(crate) schema: Option<Schema>,
}

impl SchemaChanges {
    /// What `options` allow to be done about the differences.
    ///
    /// # Errors
    ///
    /// `SchemaMismatch` if that does not make rows of `delivered` fit the table.
    pub(crate) fn plan(table: &TableHandle, delivered: &TableSchema, options: &TableOptions) -> Result<Self> {
        let mut plan = Plan::new(table, delivered, options)?;
        plan.rename();
        plan.check_key();
        plan.take_over()?;
        plan.settle_missing();
        plan.reorder();
        plan.finish()
    }
}

struct Plan<'a> {
    table: &'a TableHandle,
    options: &'a TableOptions,
    key: Vec<&'a str>,
    /// The delivered columns as Iceberg would have them.
    delivered: Schema,
    fields: Vec<NestedFieldRef>,
    changes: SchemaChanges,
    refused: Vec<String>,
    next_id: i32,
    /// New names by field id, for files without ids.
    names: HashMap<i32, String>,
}

impl<'a> Plan<'a> {
    fn new(table: &'a TableHandle, delivered: &'a TableSchema, options: &'a TableOptions) -> Result<Self> {
        Ok(Self {
            key: delivered.key_names(),
            delivered: iceberg_schema(delivered)?,
            fields: table.iceberg_schema().as_struct().fields().to_vec(),
            table,
            options,
            changes: SchemaChanges::default(),
            refused: Vec::new(),
            next_id: table.metadata().last_column_id() + 1,
            names: HashMap::new(),
        })
    }

    fn policy(&self) -> SchemaPolicy {
        self.options.schema_changes
    }

    /// Renames columns as the configuration says, whatever the policy: nobody else can tell a renamed column from a new one. All at
    /// once, for a column may take the name that another one leaves.
    fn rename(&mut self) {
        let mut due: Vec<(&String, &String)> = self.options.renames.iter().collect();
        loop {
            let (left, taken): (HashSet<&String>, HashSet<&String>) = due.iter().copied().unzip();
            let possible = due.iter().copied().filter(|(from, to)| {
                let is_free = !self.has(to) || left.contains(to);
                let is_gone = !self.delivers(from) || taken.contains(from);
                self.has(from) && self.delivers(to) && is_free && is_gone
            });
            let possible: Vec<_> = possible.collect();
            if possible.len() == due.len() {
                break;
            }
            due = possible;
        }
        for field in &mut self.fields {
            let Some((from, to)) = due.iter().copied().find(|(from, _)| **from == field.name) else {
                continue;
            };
            *field = Arc::new(NestedField {
                name: to.clone(),
                ..field.as_ref().clone()
            });
            self.names.insert(field.id, to.clone());
            self.changes
                .actions
                .push(format!("rename column {from:?} to {to:?}"));
        }
    }

    fn has(&self, column: &str) -> bool {
        self.fields.iter().any(|field| field.name == column)
    }

    fn delivers(&self, column: &str) -> bool {
        self.delivered.as_struct().field_by_name(column).is_some()
    }

    fn check_key(&mut self) {
        let schema = self.table.iceberg_schema();
        let mut present: Vec<_> = self
            .fields
            .iter()
            .filter(|field| schema.identifier_field_ids().any(|id| id == field.id))
            .map(|field| field.name.clone())
            .collect();
        let mut wanted: Vec<_> = self.key.iter().map(|name| (*name).to_owned()).collect();
        present.sort();
        wanted.sort();
        if present != wanted {
            self.refused.push(format!(
                "the key is ({}) in the table and ({}) in the source",
                present.join(", "),
                wanted.join(", ")
            ));
        }
    }

    /// Adds, widens and relaxes columns.
    fn take_over(&mut self) -> Result<()> {
        let delivered = self.delivered.as_struct().fields().to_vec();
        for wanted in delivered {
            let present = self.fields.iter().position(|field| field.name == wanted.name);
            match present {
                None => self.add(&wanted),
                Some(index) => {
                    self.retype(index, &wanted);
                    self.relax(index, &wanted);
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, wanted: &NestedField) {
        let column = format!("{:?} ({})", wanted.name, wanted.field_type);
        match self.policy() {
            policy if policy.follows() => {
                let field = NestedField::optional(self.next_id, &wanted.name, (*wanted.field_type).clone());
                self.next_id += 1;
                self.names.insert(field.id, field.name.clone());
                self.fields.push(Arc::new(field));
                self.changes.actions.push(format!("add column {column}"));
            }
            SchemaPolicy::Ignore => {
                let loss = format!("column {column} is not in the table and is left out");
                self.changes.losses.push(loss);
            }
            _ => self.refused.push(format!("the table lacks column {column}")),
        }
    }

    fn retype(&mut self, index: usize, wanted: &NestedField) {
        let (present, policy) = (self.fields[index].clone(), self.policy());
        if present.field_type == wanted.field_type {
            return;
        }
        let is_wider = is_promotion(&wanted.field_type, &present.field_type);
        if is_wider && policy != SchemaPolicy::Exception {
            return;
        }
        let difference = format!(
            "column {:?} is {} in the table and {} in the source",
            present.name, present.field_type, wanted.field_type
        );
        let is_key = self.key.contains(&present.name.as_str());
        if policy.follows() && is_promotion(&present.field_type, &wanted.field_type) {
            self.changes.actions.push(format!(
                "widen column {:?} from {} to {}",
                present.name, present.field_type, wanted.field_type
            ));
            self.fields[index] = Arc::new(NestedField {
                field_type: wanted.field_type.clone(),
                ..present.as_ref().clone()
            });
        } else if policy.leaves_out() && !is_key {
            let loss = format!("{difference}: it is left out, and NULL in new rows");
            self.changes.losses.push(loss);
            self.leave_null(index);
        } else {
            self.refused.push(difference);
        }
    }

    fn relax(&mut self, index: usize, wanted: &NestedField) {
        let present = self.fields[index].clone();
        if wanted.required || !present.required {
            return;
        }
        if self.policy().follows() {
            self.make_optional(index);
        } else if self.policy() == SchemaPolicy::Exception {
            self.refused.push(format!(
                "column {:?} is required in the table and may be NULL in the source",
                present.name
            ));
        }
    }

    /// Drops columns that are no longer delivered, or leaves them NULL.
    fn settle_missing(&mut self) {
        let specs = self.table.metadata().default_partition_spec().fields();
        let orders = &self.table.metadata().default_sort_order().fields;
        let mut index = 0;
        while let Some(field) = self.fields.get(index).cloned() {
            let is_delivered = self.delivers(&field.name);
            let is_key = self
                .table
                .iceberg_schema()
                .identifier_field_ids()
                .any(|id| id == field.id);
            if is_delivered || is_key {
                index += 1;
                continue;
            }
            let in_use = specs
                .iter()
                .any(|spec| spec.source_id == field.id && spec.transform != Transform::Void)
                || orders.iter().any(|order| order.source_id == field.id);
            if self.policy().drops() && !in_use {
                self.changes.actions.push(format!("drop column {:?}", field.name));
                self.fields.remove(index);
                continue;
            }
            let difference = format!("the source no longer delivers column {:?}", field.name);
            if self.policy().leaves_out() {
                let loss = format!("{difference}: it is NULL in new rows");
                self.changes.losses.push(loss);
                self.leave_null(index);
            } else {
                self.refused.push(difference);
            }
            index += 1;
        }
    }

    fn leave_null(&mut self, index: usize) {
        if !self.fields[index].required {
            return;
        }
        if self.policy().follows() {
            self.make_optional(index);
        } else {
            self.refused.push(format!(
                "column {:?} is required in the table and cannot be left NULL",
                self.fields[index].name
            ));
        }
    }

    fn make_optional(&mut self, index: usize) {
        let field = self.fields[index].as_ref().clone();
        if field.required {
            self.changes
                .actions
                .push(format!("let column {:?} be NULL", field.name));
            self.fields[index] = Arc::new(NestedField {
                required: false,
                ..field
            });
        }
    }

    /// Puts the columns in the source's order, those that it does not deliver last.
    fn reorder(&mut self) {
        if !self.policy().drops() {
            return;
        }
        let place = |field: &NestedFieldRef| {
            let delivered = self.delivered.as_struct().fields();
            delivered
                .iter()
                .position(|wanted| wanted.name == field.name)
                .unwrap_or(usize::MAX)
        };
        if !self.fields.is_sorted_by_key(place) {
            self.fields.sort_by_key(place);
            self.changes
                .actions
                .push("put the columns in the source's order".to_owned());
        }
    }

    fn finish(mut self) -> Result<SchemaChanges> {
        if !self.refused.is_empty() {
            let list = self.refused.join("; ");
            return Err(Error::new(
                ErrorKind::SchemaMismatch,
                format!("the source's columns do not fit the Iceberg table: {list}"),
            )
            .with("table", self.table.name())
            .hint("`layout.schema_changes` says what is done about it; a renamed column is named in `layout.renames`"));
        }
        let present = self.table.iceberg_schema();
        if self.fields != present.as_struct().fields() {
            let schema = Schema::builder()
                .with_fields(self.fields)
                .with_identifier_field_ids(present.identifier_field_ids())
                .with_schema_id(present.schema_id() + 1)
                .build()
                .map_err(iceberg_error("cannot change the table's columns"))?;
            self.changes.updates.push(TableUpdate::AddSchema {
                schema: schema.clone(),
            });
            self.changes
                .updates
                .push(TableUpdate::SetCurrentSchema { schema_id: -1 });
            self.changes.updates.extend(mapped(self.table, &self.names)?);
            self.changes.schema = Some(schema);
        }
        Ok(self.changes)
    }
}

/// Adds names to the table's name mapping, if it has one. A name that it gives to another column stays there: the files without ids
/// that have it are older than its new meaning.
fn mapped(table: &TableHandle, names: &HashMap<i32, String>) -> Result<Option<TableUpdate>> {
    let Some(json) = table.metadata().properties().get(NAME_MAPPING) else {
        return Ok(None);
    };
    let damaged = || {
        Error::new(ErrorKind::Corrupt, "cannot read the table's name mapping").with("property", NAME_MAPPING)
    };
    let mut mapping: Vec<MappedField> = serde_json::from_str(json).map_err(|e| damaged().caused_by(e))?;
    for (id, name) in names {
        if mapping.iter().any(|field| field.names.contains(name)) {
            continue;
        }
        match mapping.iter_mut().find(|field| field.field_id == Some(*id)) {
            Some(field) => field.names.push(name.clone()),
            None => mapping.push(MappedField {
                field_id: Some(*id),
                names: vec![name.clone()],
                rest: serde_json::Map::new(),
            }),
        }
    }
    let json = serde_json::to_string(&mapping)
        .map_err(|e| Error::internal("cannot write a name mapping").caused_by(e))?;
    let updates = HashMap::from([(NAME_MAPPING.to_owned(), json)]);
    Ok(Some(TableUpdate::SetProperties { updates }))
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct MappedField {
    #[serde(skip_serializing_if = "Option::is_none")]
    field_id: Option<i32>,
    names: Vec<String>,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

/// Whether values of one type can be read as another, as Iceberg allows it for a column.
pub(crate) fn is_promotion(from: &Type, to: &Type) -> bool {
    use PrimitiveType::{Decimal, Double, Float, Int, Long};
    match (from.as_primitive_type(), to.as_primitive_type()) {
        (Some(Int), Some(Long)) | (Some(Float), Some(Double)) => true,
        (
            Some(Decimal { precision, scale }),
            Some(Decimal {
                precision: wide,
                scale: same,
            }),
        ) => precision < wide && scale == same,
        _ => false,
    }
}
