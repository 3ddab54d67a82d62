//! The trie against a plain map of prefixes, on disk and damaged, and searches that end on real IDs only.

use proptest::prelude::*;
use sememe::ids::{Export, Frontier, Style, TextFormat, Trie, Vocabulary};
use sememe::{Error, Result, rng};
use std::collections::{BTreeMap, BTreeSet};

const END: u32 = 9999;

fn build(ids: &[Vec<u32>]) -> Trie {
    let trie = Trie::build(ids.iter().map(Vec::as_slice), END).expect("a trie");
    trie.verify().expect("whole");
    trie
}

/// The slow form: every prefix with what may follow, every ID with its items.
struct Plain {
    next: BTreeMap<Vec<u32>, BTreeSet<u32>>,
    items: BTreeMap<Vec<u32>, Vec<u32>>,
}

fn plain(ids: &[Vec<u32>]) -> Plain {
    let (mut next, mut items) = (BTreeMap::<_, BTreeSet<u32>>::new(), BTreeMap::<_, Vec<u32>>::new());
    for (i, id) in ids.iter().enumerate() {
        for (at, token) in id.iter().enumerate() {
            next.entry(id[..at].to_vec()).or_default().insert(*token);
        }
        next.entry(id.clone()).or_default().insert(END);
        items.entry(id.clone()).or_default().push(i as u32);
    }
    Plain { next, items }
}

#[track_caller]
fn same(trie: &Trie, ids: &[Vec<u32>]) {
    let want = plain(ids);
    assert_eq!(trie.nodes(), want.next.len());
    assert_eq!(trie.item_count(), ids.len());
    assert_eq!(trie.depth(), ids.iter().map(Vec::len).max().unwrap_or(0));
    for (prefix, next) in &want.next {
        let ends = next.iter().filter(|t| **t == END);
        let want_next: Vec<u32> = next.iter().filter(|t| **t != END).chain(ends).copied().collect();
        assert_eq!(trie.allowed(prefix), want_next, "{prefix:?}");
        assert_eq!(trie.items(prefix), want.items.get(prefix).cloned().unwrap_or_default(), "{prefix:?}");
        // Off the trie, and past its end, only the end is left.
        for token in [0, 1, 7, END, u32::MAX] {
            let off = [prefix.as_slice(), &[token]].concat();
            if !want.next.contains_key(&off) {
                assert_eq!(trie.allowed(&off), [END]);
                assert!(trie.items(&off).is_empty() && trie.node(&off).is_none());
            }
        }
    }
    let mut seen = BTreeMap::new();
    let done: Result<(), ()> = trie.for_each(|id, items| {
        assert!(seen.insert(id.to_vec(), items.to_vec()).is_none());
        Ok(())
    });
    assert_eq!((done, seen), (Ok(()), want.items));
}

/// Scores that depend on the prefix and the token alone.
fn score(seed: u64) -> impl Fn(&[u32], u32) -> f32 {
    move |prefix, token| {
        let mut mixed =
            prefix.iter().chain([&token]).fold(seed, |h, t| (h ^ u64::from(*t)).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        mixed ^= mixed >> 31;
        rng::stream(mixed, "score", 0).normal() as f32
    }
}

fn scorer(f: impl Fn(&[u32], u32) -> f32) -> impl FnMut(&mut [Frontier<'_>]) -> Result<()> {
    move |frontier| {
        for beam in frontier {
            for (slot, token) in beam.scores.iter_mut().zip(beam.allowed) {
                *slot = f(beam.prefix, *token);
            }
        }
        Ok(())
    }
}

#[test]
fn a_trie_is_the_map_of_prefixes() {
    let ids = |rows: &[&[u32]]| rows.iter().map(|r| r.to_vec()).collect::<Vec<_>>();
    for rows in [
        ids(&[&[1]]),
        ids(&[&[5], &[5], &[3]]),
        ids(&[&[1, 2, 3], &[1, 2], &[1], &[1, 2, 3, 4], &[1, 2]]),
        ids(&[&[0, 0, 0], &[0, 0], &[u32::MAX, 1], &[u32::MAX]]),
        ids(&[&[7, 20, 30], &[7, 20, 31], &[8, 20, 30], &[7, 20, 31]]),
    ] {
        same(&build(&rows), &rows);
    }
}

#[test]
fn every_way_of_packing_gives_the_same_trie() {
    // 4 × 8 bits and the item fit 64 bits, 4 × 24 fit 128, and 12 × 24 fit neither.
    let mut stream = rng::stream(3, "packing", 0);
    for (width, span) in [(4, 1u64 << 8), (4, 1 << 24), (12, 1 << 24), (3, 1 << 32)] {
        let rows: Vec<Vec<u32>> = (0..500)
            .map(|i| {
                let mut id: Vec<u32> = (0..width).map(|_| stream.below(3) as u32).collect();
                // Wide spans, and shared prefixes of every length.
                id[i % width] = (stream.below(span) as u32).max(1);
                id.truncate(1 + stream.below(width as u64) as usize);
                id
            })
            .filter(|id| !id.contains(&END))
            .collect();
        same(&build(&rows), &rows);
    }
}

#[test]
fn what_cannot_be_built_says_why() {
    let refused = |rows: &[&[u32]], part: &str| {
        let error = Trie::build(rows.iter().copied(), END).expect_err("refused").to_string();
        assert!(error.contains(part), "{error}");
    };
    refused(&[], "1 to 2^32 - 1 items, got 0");
    refused(&[&[1], &[]], "item 1 has no tokens");
    refused(&[&[1], &[2, END]], "item 1 holds the end token 9999 at 1");
    refused(&[&[1; 256]], "256 tokens, at most 255");
}

#[test]
fn a_file_is_the_trie_and_damage_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ids.trie");
    let rows: Vec<Vec<u32>> = (0..300u32).map(|i| vec![i % 7, 10 + i % 5, 20 + i % 11]).collect();
    let built = build(&rows);
    built.save(&path).unwrap();
    let loaded = Trie::load(&path).unwrap();
    loaded.verify().unwrap();
    same(&loaded, &rows);
    assert_eq!(Trie::from_bytes(built.as_bytes().to_vec()).unwrap().as_bytes(), loaded.as_bytes());
    assert!(format!("{loaded:?}").contains("items: 300"));
    // SAFETY: the file is in a folder of this test's own, which only replaces it by renaming.
    let mapped = unsafe { Trie::map(&path) }.unwrap();
    assert_eq!(mapped.as_bytes(), loaded.as_bytes());
    // A map outlives the name of its file, and the file's replacement.
    build(&rows[..1]).save(&path).unwrap();
    same(&loaded, &rows);
    same(&mapped, &rows);
    drop(mapped);
    // What is loaded does not change with the file, even where others write into it.
    let one = Trie::load(&path).unwrap();
    let before = one.as_bytes().to_vec();
    std::fs::write(&path, vec![0xff; before.len()]).unwrap();
    assert_eq!(one.as_bytes(), before);
    one.verify().unwrap();

    let bytes = built.as_bytes();
    let refused = |bytes: Vec<u8>, part: &str| {
        let error = Trie::from_bytes(bytes).expect_err("refused").to_string();
        assert!(error.contains(part), "{part:?} is not in {error}");
    };
    refused(vec![], "has 0 bytes");
    refused(bytes[..63].to_vec(), "has 63 bytes");
    refused(bytes[..bytes.len() - 1].to_vec(), "was it cut short?");
    refused([bytes, &[0]].concat(), "was it cut short?");
    refused([b"NUMPY", &bytes[5..]].concat(), "does not start with");
    refused([b"SEMTRIE2", &bytes[8..]].concat(), "version `2`");
    let zero = |at: usize| [&bytes[..at], &[0; 4], &bytes[at + 4..]].concat();
    refused(zero(12), "depth of 0");
    refused(zero(16), "was it cut short?");
    // A header that claims 48 GiB is held to the file's length before anything is allocated.
    let mut huge = bytes.to_vec();
    huge[16..24].copy_from_slice(&[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    std::fs::write(&path, huge).unwrap();
    assert!(Trie::load(&path).unwrap_err().to_string().contains("was it cut short?"));
    std::fs::write(&path, b"").unwrap();
    assert!(Trie::load(&path).unwrap_err().to_string().contains("is empty"));
    assert!(Trie::load(folder.path()).unwrap_err().to_string().contains("is a folder"));
    assert!(matches!(Trie::load(folder.path().join("none")), Err(Error::Io { .. })));
}

#[test]
fn scores_must_be_numbers() {
    let trie = build(&[vec![1, 2], vec![1, 3]]);
    for (bad, part) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
        let error = trie.beam(2, scorer(|_, t| if t == 3 { bad } else { 0.0 })).unwrap_err().to_string();
        assert!(error.contains("token 3 after [1] was scored") && error.contains(part), "{error}");
    }
    assert!(trie.greedy(|_| Ok(())).unwrap_err().to_string().contains("NaN"), "scores left out are noticed");
    assert!(matches!(trie.beam(0, scorer(|_, _| 0.0)), Err(Error::Config { .. })));
    let failed = trie.greedy(|_| Err(Error::Data("the model went away".into()))).unwrap_err();
    assert_eq!(failed.to_string(), "the model went away");
    // All scores −∞: still an ID, the lowest.
    let hit = trie.greedy(scorer(|_, _| f32::NEG_INFINITY)).unwrap();
    assert_eq!((hit.id, hit.items, hit.score), (vec![1, 2], vec![0], f64::NEG_INFINITY));
}

#[test]
fn random_scores_reach_every_id_of_an_export_and_nothing_else() {
    // A model with a vocabulary of its own, logits at random, masked by what is allowed: every step as a server takes it.
    let mut stream = rng::stream(8, "fuzz", 0);
    let sizes = [6, 4, 5];
    let flat: Vec<u32> = (0..80).flat_map(|_| sizes.map(|k| (stream.below(k) * stream.below(2)) as u32)).collect();
    let codes = sememe::Codes::from_vec(80, 3, flat).unwrap();
    let keys: Vec<String> = (0..80).map(|i| format!("item {i}")).collect();
    for style in [Style::Sem, Style::LcRec] {
        let format = TextFormat::preset(style, &sizes.map(|k| k as usize)).unwrap();
        let vocabulary = Vocabulary::new(&format, 0, 100, &[]).unwrap();
        let trie =
            Export::new(&format, &codes, &keys).unwrap().trie(&vocabulary, vocabulary.end().or(Some(7))).unwrap();
        let mut wanted = BTreeMap::<Vec<u32>, Vec<u32>>::new();
        for (i, id) in codes.iter().enumerate() {
            wanted.entry(vocabulary.encode(id).unwrap()).or_default().push(i as u32);
        }
        assert!(wanted.len() > 20 && wanted.values().any(|items| items.len() > 1), "uninformative");
        let (mut seen, mut searched) = (BTreeSet::new(), BTreeSet::new());
        for round in 0..3000u64 {
            let mut id = Vec::new();
            loop {
                let logits: Vec<f64> = (0..vocabulary.embedding_rows()).map(|_| stream.uniform()).collect();
                let allowed = trie.allowed(&id);
                let best = allowed.iter().max_by(|a, b| logits[**a as usize].total_cmp(&logits[**b as usize])).unwrap();
                if *best == trie.end() {
                    break;
                }
                id.push(*best);
            }
            assert_eq!(wanted.get(&id), Some(&trie.items(&id)), "{id:?}");
            seen.insert(id);
            if round % 10 == 0 {
                for hit in trie.beam(1 + (round % 7) as usize, scorer(score(round))).unwrap() {
                    assert_eq!(wanted.get(&hit.id), Some(&hit.items));
                    searched.insert(hit.id);
                }
            }
        }
        assert_eq!(seen.len(), wanted.len(), "every ID comes out");
        assert_eq!(searched.len(), wanted.len(), "of the beam search too");
    }
}

fn id_sets() -> impl Strategy<Value = Vec<Vec<u32>>> {
    prop::collection::vec(prop::collection::vec(0u32..6, 1..5), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_set_of_ids_makes_its_trie(ids in id_sets()) {
        same(&build(&ids), &ids);
    }

    #[test]
    fn searches_end_on_real_ids_and_reach_all_of_them(ids in id_sets(), seed in any::<u64>(), width in 1usize..20) {
        let (trie, want, f) = (build(&ids), plain(&ids), score(seed));
        let total = |id: &[u32]| -> f64 {
            let ended = [id, &[END]].concat();
            (0..ended.len()).map(|at| f64::from(f(&ended[..at], ended[at]))).sum()
        };
        // Wide enough, the beam is every ID, ranked.
        let all = trie.beam(want.next.len() + want.items.len(), scorer(&f)).unwrap();
        let mut ranked: Vec<_> = want.items.keys().map(|id| (total(id), id)).collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
        prop_assert_eq!(all.iter().map(|h| &h.id).collect::<Vec<_>>(), ranked.iter().map(|r| r.1).collect::<Vec<_>>());
        for hit in &all {
            prop_assert_eq!(&hit.items, &want.items[&hit.id]);
            prop_assert!((hit.score - total(&hit.id)).abs() < 1e-4);
        }
        // Narrow, it is real and distinct IDs in order.
        let some = trie.beam(width, scorer(&f)).unwrap();
        prop_assert!(!some.is_empty() && some.len() <= width);
        prop_assert!(some.windows(2).all(|w| w[0].score >= w[1].score));
        let distinct: BTreeSet<_> = some.iter().map(|h| &h.id).collect();
        prop_assert_eq!(distinct.len(), some.len());
        prop_assert!(some.iter().all(|h| want.items.get(&h.id) == Some(&h.items)));
        // Greedy is the walk along the best token.
        let mut walk = Vec::new();
        loop {
            let best = want.next[&walk].iter().copied().max_by(|a, b| f(&walk, *a).total_cmp(&f(&walk, *b)).then(b.cmp(a)));
            match best.unwrap() {
                END => break,
                token => walk.push(token),
            }
        }
        prop_assert_eq!(trie.greedy(scorer(&f)).unwrap().id, walk);
    }

    #[test]
    fn a_damaged_file_neither_panics_nor_leaves_nothing_allowed(
        ids in id_sets(),
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..30),
        prefix in prop::collection::vec(0u32..6, 0..5),
    ) {
        let mut bytes = build(&ids).as_bytes().to_vec();
        let good = bytes.clone();
        for (at, byte) in hits {
            // The header is checked on loading; its damage has its own test.
            let at = 64 + at.index(bytes.len() - 64);
            bytes[at] = byte;
        }
        let changed = bytes != good;
        let trie = Trie::from_bytes(bytes).unwrap();
        prop_assert_eq!(trie.verify().is_err(), changed);
        prop_assert!(!trie.allowed(&prefix).is_empty());
        let _ = trie.items(&prefix);
        match trie.beam(3, scorer(score(1))) {
            Ok(hits) => prop_assert!(hits.iter().all(|h| !h.items.is_empty())),
            Err(e) => prop_assert!(e.to_string().contains("damaged")),
        }
    }

    #[test]
    fn no_header_makes_loading_panic(ids in id_sets(), at in 0usize..64, byte in any::<u8>()) {
        let mut bytes = build(&ids).as_bytes().to_vec();
        bytes[at] = byte;
        if let Ok(trie) = Trie::from_bytes(bytes) {
            prop_assert!(!trie.allowed(&[1]).is_empty());
            let _ = trie.beam(2, scorer(score(1)));
        }
    }
}
