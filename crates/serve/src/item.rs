//! An item as every answer shows it.

use crate::catalogue::{Item, Items};
use crate::names::IdNames;
use serde::Serialize;
use utoipa::ToSchema;

/// An item and its ID.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ItemJson {
    /// What programs call it.
    #[schema(example = "3dchess")]
    pub key: String,
    /// What people call it, where the catalogue says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Its ID in the served spelling.
    #[schema(example = "<L1_25> <L2_4> <L3_47>")]
    pub id: String,
    /// Its codes, coarse to fine.
    pub codes: Vec<u32>,
    /// Which of the items on these codes it is, from 0 on.
    pub counter: u32,
}

impl ItemJson {
    /// An item in the served spelling.
    #[must_use]
    pub fn new(item: &Item<'_>, names: &IdNames) -> Self {
        // A store that another codec's IDs got into is refused when it is opened; plain codes are the last resort.
        let id = names.write(item.codes, item.counter).unwrap_or_else(|_| names.plain_prefix(item.codes));
        Self {
            key: item.key.to_owned(),
            title: item.title.map(str::to_owned),
            id,
            codes: item.codes.to_vec(),
            counter: item.counter,
        }
    }

    /// Items by number.
    #[must_use]
    pub fn list(numbers: &[u32], items: &Items, names: &IdNames) -> Vec<Self> {
        numbers.iter().map(|number| Self::new(&items.item(*number), names)).collect()
    }
}
