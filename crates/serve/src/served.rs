//! One generation of what is served: it never changes but for items that are added, and lives until its last request.

use crate::assigning::{Assigning, StorePlace};
use crate::catalogue::{Catalogue, Item};
use crate::encoding::{Encoding, EncodingOptions};
use crate::item::ItemJson;
use crate::loading::load_items;
use crate::models::Models;
use crate::names::IdNames;
use crate::sources::Resolved;
use crate::vectors::Vectors;
use sememe::ids::TextFormat;
use sememe::{Codec, Result};

/// A codec, the items with their IDs, and the models that know them.
#[derive(Debug)]
pub struct Served {
    codec: Codec,
    names: IdNames,
    catalogue: Catalogue,
    vectors: Option<Vectors>,
    encoding: Encoding,
    assigning: Option<Assigning>,
    models: Models,
    notes: Vec<String>,
}

impl Served {
    /// Loads all that the sources name.
    ///
    /// # Errors
    /// Whatever the files and the store say; nothing is changed then but for a store that was made.
    pub fn load(from: &Resolved) -> Result<Self> {
        let codec = Codec::load(&from.codec)?;
        let sizes = codec.codebook_sizes();
        let names =
            IdNames::new(TextFormat::new(from.spelling.template.clone(), &sizes)?, from.spelling.style.as_str())?;
        let mut notes = from.notes.clone();
        let (assigning, known) = match &from.sources.store {
            Some(place) => {
                let opened = Assigning::open(StorePlace {
                    place: place.clone(),
                    patience: from.sources.patience,
                    codec_hash: codec.content_hash().to_owned(),
                    levels: codec.levels(),
                })?;
                notes.extend(opened.risks);
                (Some(opened.assigning), Some(opened.items))
            }
            None => (None, None),
        };
        let encoding =
            Encoding::new(&codec, &EncodingOptions { device: from.sources.device, gather: from.sources.gather })?;
        let (items, vectors) = load_items(from, &codec, known)?;
        let catalogue = Catalogue::new(items);
        let models = Models::load(from, &codec, &catalogue)?;
        Ok(Self { codec, names, catalogue, vectors, encoding, assigning, models, notes })
    }

    /// The codec.
    #[must_use]
    pub fn codec(&self) -> &Codec {
        &self.codec
    }

    /// How IDs are written and read.
    #[must_use]
    pub fn names(&self) -> &IdNames {
        &self.names
    }

    /// The items.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The items' vectors, where they are kept.
    #[must_use]
    pub fn vectors(&self) -> Option<&Vectors> {
        self.vectors.as_ref()
    }

    /// Rows to codes.
    #[must_use]
    pub fn encoding(&self) -> &Encoding {
        &self.encoding
    }

    /// The store that gives out IDs, where there is one.
    #[must_use]
    pub fn assigning(&self) -> Option<&Assigning> {
        self.assigning.as_ref()
    }

    /// Recommender, language model and embedder.
    #[must_use]
    pub fn models(&self) -> &Models {
        &self.models
    }

    /// What whoever runs the service should know, a sentence each.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Takes over the items that another generation of the same codec was given since it was loaded.
    pub(crate) fn follow(&self, other: &Self) {
        if self.codec.content_hash() == other.codec.content_hash() {
            self.catalogue.add(&other.catalogue.added());
        }
    }

    /// An item as answers show it.
    #[must_use]
    pub fn show(&self, item: &Item<'_>) -> ItemJson {
        ItemJson::new(item, &self.names)
    }
}
