//! The field names of interaction files: the user's own, and those of published data sets.

use serde::{Deserialize, Serialize};

/// The fields of events. What is left out is found by the names that published data sets have (MovieLens' `userId`, `movieId` and
/// `timestamp`, Amazon's `reviewerID` or `user_id`, `parent_asin` or `asin` and `unixReviewTime`), in any case, with or without
/// underscores.
///
/// ```
/// use sememe::io::{EventFields, EventItem, read_events};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("ratings.csv");
/// std::fs::write(&path, "userId,film,rating,timestamp\n7,1,4.0,20\n7,0,3.5,10\n")?;
/// let fields = EventFields { item: Some("film".into()), ..EventFields::default() };
/// let row_of = |item: EventItem<'_>| item.to_string().parse().ok();
/// let events = read_events(&path, &fields, &row_of)?;
/// assert_eq!(events.sequences.iter().collect::<Vec<_>>(), [[0, 1]]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventFields {
    /// Who did it.
    pub user: Option<String>,
    /// What with.
    pub item: Option<String>,
    /// When, a number.
    pub time: Option<String>,
}

/// What a field of an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    User,
    Item,
    Time,
}

/// Names in lower case and without underscores; the first that a file has is taken.
const USERS: [&str; 7] = ["user", "userid", "uid", "reviewerid", "customerid", "visitorid", "sessionid"];
const ITEMS: [&str; 12] = [
    "item",
    "itemid",
    "iid",
    "movieid",
    "parentasin",
    "asin",
    "productid",
    "bookid",
    "businessid",
    "newsid",
    "trackid",
    "animeid",
];
const TIMES: [&str; 6] = ["time", "timestamp", "unixreviewtime", "unixtime", "eventtime", "ts"];

impl EventFields {
    /// Checks the names.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for one that is empty.
    pub fn validate(&self) -> crate::Result<()> {
        for (name, given) in [("user", &self.user), ("item", &self.item), ("time", &self.time)] {
            if given.as_ref().is_some_and(|given| given.trim().is_empty()) {
                return Err(crate::Error::config(format!("event_fields.{name}"), "is empty; leave it out instead"));
            }
        }
        Ok(())
    }

    fn given(&self, role: Role) -> Option<&str> {
        match role {
            Role::User => self.user.as_deref(),
            Role::Item => self.item.as_deref(),
            Role::Time => self.time.as_deref(),
        }
    }

    /// The field among these names: the one that was given, whether or not it is there, or else the first that is usual.
    pub(super) fn find<'a>(&'a self, role: Role, names: &[&'a str]) -> Option<&'a str> {
        if let Some(given) = self.given(role) {
            return Some(given);
        }
        let usual: &[&str] = match role {
            Role::User => &USERS,
            Role::Item => &ITEMS,
            Role::Time => &TIMES,
        };
        usual.iter().find_map(|usual| names.iter().copied().find(|name| is(name, usual)))
    }

    /// What was looked for and is not among these names.
    pub(super) fn missing(&self, names: &[&str]) -> String {
        let wants = [(Role::User, "a user (`user`, `user_id`, …)"), (Role::Item, "an item (`item`, `item_id`, …)")];
        let missing = wants.iter().filter_map(|(role, usual)| match self.find(*role, names) {
            Some(found) if names.contains(&found) => None,
            Some(given) => Some(format!("`{given}`")),
            None => Some((*usual).to_owned()),
        });
        let missing: Vec<String> = missing.collect();
        let way_out = if missing.iter().any(|what| what.contains('(')) { "; say what they are called" } else { "" };
        format!("{}{way_out}", missing.join(" and "))
    }
}

/// Whether a name is a usual one, whatever its case and underscores.
fn is(name: &str, usual: &str) -> bool {
    let letters = name.bytes().filter(|b| !matches!(b, b'_' | b'-' | b' '));
    letters.map(|b| b.to_ascii_lowercase()).eq(usual.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_names_are_known_and_given_ones_go_before() {
        let fields = EventFields::default();
        for (names, want) in [
            (&["userId", "movieId", "rating", "timestamp"][..], ["userId", "movieId", "timestamp"]),
            (&["asin", "parent_asin", "user_id", "timestamp"], ["user_id", "parent_asin", "timestamp"]),
            (&["reviewerID", "asin", "reviewTime", "unixReviewTime"], ["reviewerID", "asin", "unixReviewTime"]),
            (&["uid", "iid", "ts"], ["uid", "iid", "ts"]),
            (&["User", "item", "user_id"], ["User", "item", ""]),
        ] {
            let found = [Role::User, Role::Item, Role::Time].map(|role| fields.find(role, names).unwrap_or(""));
            assert_eq!(found, want, "{names:?}");
        }
        let fields = EventFields { user: Some("who".into()), ..fields };
        assert_eq!(fields.find(Role::User, &["user"]), Some("who"));
        assert_eq!(
            fields.missing(&["user", "x"]),
            "`who` and an item (`item`, `item_id`, …); say what they are called"
        );
        assert_eq!(fields.missing(&["user", "item"]), "`who`");
    }
}
