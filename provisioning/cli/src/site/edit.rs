//! Changes of sources that people wrote: comments, order and everything else stay as they are, and the
//! result is read again before it takes the old one's place.

use casemate_formats::bundle::source::{BundleSource, SiteSource};
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, value};

use super::{Site, Written, files, malformed, write};
use crate::output::Failure;

impl Site {
    /// Changes `bundle.toml`.
    ///
    /// # Errors
    /// It is not TOML, or would not be a bundle's source any more.
    pub fn edit_bundle(
        &self,
        change: impl FnOnce(&mut DocumentMut) -> Result<(), Failure>,
    ) -> Result<Written, Failure> {
        self.edit("bundle.toml", change, |text| BundleSource::parse(text).map(drop))
    }

    /// Changes `site.toml`.
    ///
    /// # Errors
    /// It is not TOML, or would not be a site's source any more.
    pub fn edit_site(
        &self,
        change: impl FnOnce(&mut DocumentMut) -> Result<(), Failure>,
    ) -> Result<Written, Failure> {
        self.edit("site.toml", change, |text| SiteSource::parse(text).map(drop))
    }

    fn edit<E: ToString>(
        &self,
        name: &str,
        change: impl FnOnce(&mut DocumentMut) -> Result<(), Failure>,
        check: impl Fn(&str) -> Result<(), E>,
    ) -> Result<Written, Failure> {
        let path = self.path(name);
        let mut document: DocumentMut =
            files::read_text(&path)?.parse().map_err(|error| malformed(&path, &error))?;
        change(&mut document)?;
        let text = document.to_string();
        check(&text).map_err(|error| malformed(&path, &error))?;
        write(&path, text.as_bytes())
    }
}

/// A table of a document; made if it is missing.
pub fn table<'a>(document: &'a mut DocumentMut, name: &str) -> Result<&'a mut Table, Failure> {
    let item = document.entry(name).or_insert_with(|| Item::Table(Table::new()));
    item.as_table_mut().ok_or_else(|| unexpected(&format!("[{name}]")))
}

/// An array of tables within a table; made if it is missing.
pub fn tables<'a>(table: &'a mut Table, name: &str) -> Result<&'a mut ArrayOfTables, Failure> {
    let item = table.entry(name).or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    item.as_array_of_tables_mut().ok_or_else(|| unexpected(&format!("[[{name}]]")))
}

/// Sets a value; its place and the comment beside it stay.
pub fn set(table: &mut Table, name: &str, to: impl Into<toml_edit::Value>) {
    let mut new: toml_edit::Value = to.into();
    if let Some(old) = table.get(name).and_then(Item::as_value) {
        *new.decor_mut() = old.decor().clone();
    }
    table[name] = value(new);
}

/// An array with one entry a line.
pub fn lines(entries: impl IntoIterator<Item = String>) -> Array {
    let mut array = Array::new();
    for entry in entries {
        array.push_formatted(toml_edit::Value::from(entry).decorated("\n    ", ""));
    }
    array.set_trailing("\n");
    array.set_trailing_comma(true);
    array
}

fn unexpected(what: &str) -> Failure {
    Failure::refused("bundle-toml", format!("{what} is written in another form"))
        .expected(format_args!("{what} as `casemate site init` writes it"))
        .next("write it so, or make the change by hand and run `casemate bundle build --next`")
}
