//! Items by key, ID and words, without a service.

use super::{Catalogue, Items, NewItem};

fn item(key: &str, title: &str, codes: [u32; 2], counter: u32) -> NewItem {
    NewItem { key: key.into(), title: Some(title.into()), text: None, codes: codes.to_vec(), counter }
}

fn keys<'a>(items: &'a Items, numbers: &[u32]) -> Vec<&'a str> {
    numbers.iter().map(|number| items.item(*number).key).collect()
}

#[test]
fn items_that_come_later_are_where_they_belong() {
    let mut items = Items::new(2);
    items.add(&[item("c", "", [2, 1], 0), item("a", "", [1, 1], 0), item("a", "", [0, 0], 0)]);
    items.add(&[item("d", "", [1, 1], 1), item("b", "", [1, 0], 0), item("e", "", [0, 5], 0)]);
    assert_eq!(keys(&items, items.with_prefix(&[])), ["e", "b", "a", "d", "c"]);
    assert_eq!(keys(&items, items.with_prefix(&[1])), ["b", "a", "d"]);
    assert_eq!(keys(&items, items.with_prefix(&[1, 1])), ["a", "d"]);
    assert!(items.with_prefix(&[3]).is_empty() && items.with_prefix(&[1, 1, 1]).is_empty());
    let children: Vec<(u32, usize)> = items.children(&[]).into_iter().map(|(code, of)| (code, of.len())).collect();
    assert_eq!(children, [(0, 1), (1, 3), (2, 1)]);
    let near = |codes: &[u32], count| -> Vec<(&str, usize)> {
        items.sharing(codes, count, &|_| false).into_iter().map(|(n, shared)| (items.item(n).key, shared)).collect()
    };
    assert_eq!(near(&[1, 1], 10), [("a", 2), ("d", 2), ("b", 1)]);
    // A prefix that nobody has in full is followed as far as it goes.
    assert_eq!(near(&[1, 7], 10).len(), 3);
    assert!(near(&[1, 7], 10).iter().all(|(_, shared)| *shared == 1));
    assert_eq!(near(&[9, 9], 10), []);
    assert_eq!(near(&[1, 1], 1), [("a", 2)]);
}

#[test]
fn what_is_added_is_told_apart_from_what_was_there() {
    let mut items = Items::new(2);
    items.add(&[item("a", "x", [0, 0], 0)]);
    let catalogue = Catalogue::new(items);
    assert!(catalogue.added().is_empty());
    catalogue.add(&[item("b", "y", [0, 1], 0), item("a", "z", [3, 3], 0)]);
    assert_eq!(catalogue.added(), [item("b", "y", [0, 1], 0)]);
    assert_eq!(catalogue.read().item(0).title, Some("x"));
    // A title that a store does not know comes later, and is kept as what was added.
    let untitled = NewItem { title: None, ..item("c", "", [2, 2], 0) };
    catalogue.add(std::slice::from_ref(&untitled));
    catalogue.add(&[item("c", "late words", [2, 2], 0)]);
    catalogue.add(&[item("c", "later words", [2, 2], 0)]);
    assert_eq!(catalogue.added(), [item("b", "y", [0, 1], 0), untitled, item("c", "late words", [2, 2], 0)]);
    let items = catalogue.read();
    assert_eq!((items.len(), items.item(2).title), (3, Some("late words")));
    assert_eq!(keys(&items, &items.search("late", 5)), ["c"]);
}

#[test]
fn the_best_words_come_first() {
    let mut items = Items::new(2);
    items.add(&[
        item("chess", "a game", [0, 0], 0),
        item("draughts", "a game like chess", [0, 0], 1),
        item("go", "a board game of stones and of much else that takes long to tell", [0, 0], 2),
        item("chessboard", "for a game", [0, 0], 3),
        item("ﬁle", "Ünïcödé ＦＵＬＬ", [0, 0], 4),
    ]);
    let found = |words: &str| keys(&items, &items.search(words, 10));
    // The key itself, then the title, then a longer word that begins so.
    assert_eq!(found("chess"), ["chess", "draughts", "chessboard"]);
    assert_eq!(found("game board "), ["go", "chess", "chessboard", "draughts"]);
    assert_eq!(found("file"), ["ﬁle"]);
    assert_eq!(found("unicode full"), ["ﬁle"]);
    assert_eq!(found("chess chess chess").len(), 3);
    assert!(found("").is_empty() && found(" -!").is_empty() && found("x y z").is_empty());
    assert_eq!(items.search("game", 2).len(), 2);
}

#[test]
fn the_items_that_all_words_name_come_first_in_a_large_catalogue() {
    let words = ["game", "board", "library", "python", "documentation", "server", "client", "tool", "data", "graphics"];
    let list: Vec<NewItem> = (0..63_000u32)
        .map(|i| {
            let word = |n: u32| words[((i / n) % 10) as usize];
            item(
                &format!("package-{i}"),
                &format!("{} {} for {} {}", word(1), word(10), word(100), i % 977),
                [i % 64, i % 61],
                i,
            )
        })
        .collect();
    let mut items = Items::new(2);
    items.add(&list);
    let queries =
        ["game board", "package", "python library for gam", "package 62999", "documentation of a server for data"];
    for query in queries {
        let first = *items.search(query, 20).first().expect("found");
        let item = items.item(first);
        let all = format!("{} {}", item.key, item.title.unwrap_or_default());
        let named = query.split(' ').filter(|word| *word != "of" && *word != "a");
        assert!(named.into_iter().all(|word| all.contains(word)), "{query}: {all}");
    }
}
