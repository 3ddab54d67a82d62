//! The STATIC layout, walked as an independent decoder would, against the trie; and what cannot be laid out.

use proptest::prelude::*;
use sememe::Error;
use sememe::ids::{StaticLayout, Trie};
use std::collections::BTreeSet;

const END: u32 = 5000;
const OFFSET: u32 = 1000;
const VOCAB: u32 = 12;

fn build(ids: &[Vec<u32>]) -> Trie {
    Trie::build(ids.iter().map(Vec::as_slice), END).expect("a trie")
}

/// The local tokens that may follow, and the states after them: by the tables as far as they go, else by the matrix, whose rows are
/// read at the full width of their level as compiled decoders must.
fn next(layout: &StaticLayout, tokens: &[usize], state: usize) -> Vec<(usize, usize)> {
    let v = layout.vocab_size;
    if tokens.is_empty() {
        return (0..v).filter(|t| layout.start_mask[*t]).map(|t| (t, t + 1)).collect();
    }
    let width = usize::try_from(layout.layer_max_branches[tokens.len()]).expect("a count");
    let (start, end) = (layout.indptr[state] as usize, layout.indptr[state + 1] as usize);
    let slots: Vec<[i32; 2]> = (start..start + width).map(|at| layout.packed_csr[at]).collect();
    let by_matrix: Vec<(usize, usize)> =
        slots[..end - start].iter().map(|[token, state]| (*token as usize, *state as usize)).collect();
    if tokens.len() < layout.dense_levels {
        let row = tokens[0] * v..(tokens[0] + 1) * v;
        let (mask, states) = (&layout.dense_mask[row.clone()], &layout.dense_states[row]);
        let by_table: Vec<_> = (0..v).filter(|t| mask[*t]).map(|t| (t, states[t] as usize)).collect();
        assert!(states.iter().zip(mask).all(|(s, m)| (*s != 0) == *m), "a state where an ID leads, and nowhere else");
        assert_eq!(by_table, by_matrix);
    }
    by_matrix
}

/// Every prefix of the layout against the trie; the IDs.
fn walk(layout: &StaticLayout, trie: &Trie, tokens: &mut Vec<usize>, state: usize, ids: &mut BTreeSet<Vec<u32>>) {
    let prefix: Vec<u32> = tokens.iter().map(|t| layout.offset + *t as u32).collect();
    if tokens.len() == layout.levels {
        assert_eq!(state, 0, "an ID ends in state 0");
        assert_eq!(trie.allowed(&prefix), [END]);
        ids.insert(prefix);
        return;
    }
    let after = next(layout, tokens, state);
    let allowed: Vec<u32> = after.iter().map(|(t, _)| layout.offset + *t as u32).collect();
    assert_eq!(allowed, trie.allowed(&prefix), "{prefix:?}");
    for (token, state) in after {
        tokens.push(token);
        walk(layout, trie, tokens, state, ids);
        tokens.pop();
    }
}

fn same(ids: &[Vec<u32>], dense_levels: usize) {
    let trie = build(ids);
    let layout = trie.static_layout(OFFSET..OFFSET + VOCAB, dense_levels).expect("a layout");
    let (v, levels) = (VOCAB as usize, ids[0].len());
    assert_eq!(
        (layout.offset, layout.vocab_size, layout.levels, layout.dense_levels),
        (OFFSET, v, levels, dense_levels)
    );
    let prefixes = |m: usize| ids.iter().map(|id| &id[..m]).collect::<BTreeSet<_>>();
    let transitions: usize = (2..=levels).map(|m| prefixes(m).len()).sum();
    let states = v + 1 + (2..levels).map(|m| prefixes(m).len()).sum::<usize>();
    assert_eq!((layout.packed_csr.len(), layout.indptr.len()), (transitions + v, states + 2));
    assert_eq!(layout.indptr[states..], [transitions as i32, (transitions + v) as i32]);
    assert!(layout.packed_csr[transitions..].iter().all(|pair| *pair == [v as i32, 0]));
    assert_eq!(layout.dense_mask.len(), v.pow(dense_levels as u32));
    for (m, most) in layout.layer_max_branches.iter().enumerate() {
        let want = prefixes(m).iter().map(|p| prefixes(m + 1).iter().filter(|n| n.starts_with(p)).count()).max();
        assert_eq!(Some(*most as usize), want, "after {m} tokens");
    }
    let mut found = BTreeSet::new();
    walk(&layout, &trie, &mut Vec::new(), 0, &mut found);
    assert_eq!(found, ids.iter().cloned().collect());
}

#[test]
fn it_is_what_the_paper_s_builder_makes() {
    // Worked by hand from `build_static_index` with V = 10 and d = 2.
    let ids: Vec<Vec<u32>> = [[1, 2, 3], [1, 2, 4], [1, 5, 3], [2, 3, 4]].map(|id| id.to_vec()).to_vec();
    let layout = build(&ids).static_layout(0..10, 2).unwrap();
    let mut csr = vec![[2, 11], [5, 12], [3, 13], [3, 0], [4, 0], [3, 0], [4, 0]];
    csr.resize(17, [10, 0]);
    assert_eq!(layout.packed_csr, csr);
    assert_eq!(layout.indptr, [0, 0, 0, 2, 3, 3, 3, 3, 3, 3, 3, 3, 5, 6, 7, 17]);
    assert_eq!(layout.layer_max_branches, [2, 2, 2]);
    let at = |flags: &[bool]| flags.iter().enumerate().filter(|(_, on)| **on).map(|(at, _)| at).collect::<Vec<_>>();
    assert_eq!((at(&layout.start_mask), at(&layout.dense_mask)), (vec![1, 2], vec![12, 15, 23]));
    assert_eq!([12, 15, 23].map(|at| layout.dense_states[at]), [11, 12, 13]);
}

#[test]
fn what_cannot_be_laid_out_says_why() {
    let refused = |ids: &[&[u32]], tokens: std::ops::Range<u32>, dense: usize, part: &str| {
        let trie = build(&ids.iter().map(|id| id.to_vec()).collect::<Vec<_>>());
        let error = trie.static_layout(tokens, dense).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    refused(&[&[1, 2], &[1, 2, 3]], 0..10, 2, "an ID ends after 2 of 3 tokens");
    refused(&[&[4], &[1, 2, 3]], 0..10, 2, "an ID ends after 1 of 3 tokens");
    refused(&[&[1], &[2]], 0..10, 1, "IDs have 1 token");
    refused(&[&[1, 2]], 0..10, 2, "less than the 2 tokens of an ID, got 2");
    refused(&[&[1, 2, 3]], 0..10, 0, "expected 1 or 2");
    refused(&[&[1, 2, 3, 4]], 0..10, 3, "expected 1 or 2");
    refused(&[&[1, 2, 10]], 0..10, 2, "token 10 is not one of 0..10");
    refused(&[&[1, 2, 3]], 2..10, 2, "token 1 is not one of 2..10");
    refused(&[&[1, 2, 3]], 0..100_000, 2, "2 dense levels of 100000 tokens need 50000000000 bytes");
}

#[test]
fn files_are_whole_and_the_same_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let layout = build(&[vec![1, 2, 3], vec![1, 3, 3]]).static_layout(0..10, 1).unwrap();
    for name in ["a.npz", "a.safetensors"] {
        let path = folder.path().join(name);
        layout.save(&path).unwrap();
        let first = std::fs::read(&path).unwrap();
        layout.save(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), first);
    }
    let error = layout.save(folder.path().join("a.bin")).unwrap_err();
    assert!(matches!(&error, Error::Format { .. }) && error.to_string().contains("`.bin`"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    // As the format's own reader sees it.
    let bytes = std::fs::read(folder.path().join("a.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.tensor("packed_csr").unwrap().shape(), [4 + 10, 2]);
    assert_eq!(tensors.tensor("start_mask").unwrap().data()[..3], [0, 1, 0]);
    assert_eq!(tensors.tensor("offset").unwrap().shape(), [0usize; 0]);
    assert_eq!(tensors.tensor("levels").unwrap().data(), 3i64.to_le_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn walking_it_gives_exactly_the_trie(
        levels in 2usize..5,
        flat in prop::collection::vec(0u32..VOCAB, 4..160),
        dense_levels in 1usize..3,
    ) {
        let ids: Vec<Vec<u32>> = flat.chunks_exact(levels).map(|id| id.iter().map(|t| OFFSET + t).collect()).collect();
        prop_assume!(!ids.is_empty());
        same(&ids, dense_levels.min(levels - 1));
    }
}
