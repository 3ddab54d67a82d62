//! One ID an item: numbers and relocation, whatever the order of the file, at the least added squared L2.

use proptest::prelude::*;
use sememe::ids::resolve::{Alternatives, CodecAlternatives, number, refuse, relocate};
use sememe::{Codec, Codes, Device, Error, Matrix, Result, RqKMeans, io, rng};
use std::collections::{BTreeMap, BTreeSet};

/// Prices that are made up: of an item's number, a level and a code.
struct Made {
    sizes: Vec<usize>,
    seed: u64,
}

impl Made {
    fn step(&self, item: usize, level: usize, code: u32) -> f64 {
        rng::stream(self.seed, "price", (item * 1000 + level * 100) as u64 + u64::from(code)).uniform()
    }
}

impl Alternatives for Made {
    fn codebook_sizes(&self) -> Vec<usize> {
        self.sizes.clone()
    }

    fn squared_l2(&self, item: usize, prefix: &[u32], out: &mut Vec<f64>) -> Result<()> {
        let so_far: f64 = prefix.iter().enumerate().map(|(level, code)| self.step(item, level, *code)).sum();
        out.clear();
        out.extend((0..self.sizes[prefix.len()] as u32).map(|code| so_far + self.step(item, prefix.len(), code)));
        Ok(())
    }
}

fn keys(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("item {}", i * 7919 % 1009)).collect()
}

fn largest(codes: &Codes) -> usize {
    let mut held = BTreeMap::<&[u32], usize>::new();
    codes.iter().for_each(|id| *held.entry(id).or_default() += 1);
    held.into_values().max().unwrap_or(0)
}

#[test]
fn numbers_follow_the_keys() {
    let codes = Codes::from_vec(5, 1, vec![3, 3, 0, 3, 0]).unwrap();
    // Bytes, not numbers or alphabets: "10" comes before "9", and "Z" before "a".
    let resolved = number(&["9", "10", "a", "Z", "Z!"], &codes).unwrap();
    assert_eq!(resolved.codes.as_slice(), [3, 1, 3, 0, 0, 1, 3, 2, 0, 0]);
    let cost = resolved.cost;
    assert_eq!((cost.items, cost.ids_before, cost.ids_after, cost.moved), (5, 2, 5, 3));
    assert_eq!((cost.largest_before, cost.largest_after, cost.moved_by_level), (3, 1, vec![0, 3]));
    let error = refuse(&["9", "10", "a", "Z", "Z!"], &codes).unwrap_err().to_string();
    assert!(error.contains("5 of 5 items share their codes with others, first `Z!` and `a` on 0;"), "{error}");
    let alone = Codes::from_vec(2, 1, vec![3, 4]).unwrap();
    assert_eq!(refuse(&["a", "b"], &alone).unwrap().codes, alone);
    assert!(number(&["a", "a"], &alone).unwrap_err().to_string().contains("the same key `a`"));
    assert!(number(&["a", ""], &alone).unwrap_err().to_string().contains("row 1 is empty"));
    assert!(matches!(number(&["a"], &alone), Err(Error::Shape { .. })));
}

#[test]
fn too_many_items_say_what_would_hold_them() {
    let prices = Made { sizes: vec![2, 3], seed: 1 };
    let codes = Codes::zeros(7, 2);
    let error = relocate(&keys(7), &codes, 1, &prices).unwrap_err().to_string();
    assert_eq!(error, "7 items do not fit 6 IDs of 1 each; the least capacity that holds them is 2");
    assert_eq!(relocate(&keys(7), &codes, 2, &prices).unwrap().cost.largest_after, 2);
    assert!(matches!(relocate(&keys(7), &codes, 0, &prices), Err(Error::Config { .. })));
    let far = Codes::from_vec(1, 2, vec![0, 3]).unwrap();
    assert!(relocate(&keys(1), &far, 1, &prices).unwrap_err().to_string().contains("code 3 of row 0, level 1"));
    assert!(matches!(relocate(&keys(1), &Codes::zeros(1, 3), 1, &prices), Err(Error::Shape { .. })));
    // All places taken, to the last one.
    let full = relocate(&keys(6), &Codes::zeros(6, 2), 1, &prices).unwrap();
    assert_eq!((full.cost.ids_after, full.cost.largest_after), (6, 1));
}

/// A codec on the shipped catalogue's first rows, small enough to collide a lot.
fn fitted() -> (Codec, Matrix) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/packages.npy");
    let source = io::open(path, &io::OpenOptions::default()).expect("the shipped catalogue");
    let mut rows = Matrix::zeros(1500, source.dims()).expect("fits");
    source.read_rows(0, rows.as_mut_slice()).expect("the shipped catalogue");
    let config = RqKMeans { codebook_sizes: vec![16, 16, 16], ..RqKMeans::default() };
    (Codec::train(&rows, &config, &Device::cpu(), &()).expect("a codec"), rows)
}

#[test]
fn relocation_by_a_codec_costs_what_it_says() {
    let (codec, rows) = fitted();
    let codes = codec.encode(&rows).unwrap();
    let prices = CodecAlternatives::new(&codec, &rows, None).unwrap();
    let resolved =
        relocate(&keys(1009), &first(&codes, 1009), 1, &CodecAlternatives::new(&codec, &rows, None).unwrap());
    let resolved = resolved.unwrap();
    let cost = &resolved.cost;
    assert!(cost.largest_before > 1 && cost.ids_before < 900, "uninformative: {cost:?}");
    assert_eq!((cost.largest_after, cost.ids_after), (1, 1009));
    // What it says it cost is what decoding says.
    let error = |codes: &Codes| {
        let back = codec.decode(codes).unwrap();
        let each = (0..codes.rows())
            .map(|i| rows.row(i).iter().zip(back.row(i)).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>());
        each.sum::<f64>() / codes.rows() as f64
    };
    for (codes, said) in [(&first(&codes, 1009), cost.squared_l2_before), (&resolved.codes, cost.squared_l2_after)] {
        let (want, said) = (error(codes), said.unwrap());
        assert!((want - said).abs() <= 1e-4 * want, "{want} {said}");
    }
    assert!(cost.added_share().unwrap() > 0.0);
    // The levels' parts make the whole, and only levels that items moved at have one.
    let parts = cost.added_squared_l2_by_level.as_ref().expect("measured");
    let (whole, sum) = (cost.squared_l2_after.unwrap() - cost.squared_l2_before.unwrap(), parts.iter().sum::<f64>());
    assert!((whole - sum).abs() <= 1e-9 * cost.squared_l2_after.unwrap(), "{whole} {parts:?}");
    assert!(parts.iter().zip(&cost.moved_by_level).all(|(part, moved)| (*part != 0.0) == (*moved > 0)), "{cost:?}");
    // The nearest of all codes is the code itself.
    let mut out = Vec::new();
    for item in 0..50 {
        prices.squared_l2(item, &codes.row(item)[..2], &mut out).unwrap();
        let least = out.iter().copied().fold(f64::INFINITY, f64::min);
        assert_eq!(out[codes.row(item)[2] as usize], least);
        assert!((prices.squared_l2_of(item, codes.row(item)).unwrap() - least).abs() < 1e-9);
    }
    // Row numbers name the rows.
    let numbers = [40u64, 7];
    let named = CodecAlternatives::new(&codec, &rows, Some(&numbers)).unwrap();
    let same = (named.squared_l2_of(1, codes.row(0)).unwrap(), prices.squared_l2_of(7, codes.row(0)).unwrap());
    assert_eq!(same.0, same.1);
    assert!(CodecAlternatives::new(&codec, &rows, Some(&[1500])).is_err());
    assert!(CodecAlternatives::new(&codec, &Matrix::zeros(1, 2).unwrap(), None).is_err());
}

fn first(codes: &Codes, rows: usize) -> Codes {
    Codes::from_vec(rows, codes.levels(), codes.as_slice()[..rows * codes.levels()].to_vec()).expect("rows")
}

#[test]
fn cosine_has_no_squared_l2_to_add() {
    let rows = Matrix::from_vec(4, 2, vec![1.0, 0.0, 0.0, 1.0, 1.0, 1.0, -1.0, 0.5]).unwrap();
    let config = RqKMeans { codebook_sizes: vec![2], metric: sememe::Metric::Cosine, ..RqKMeans::default() };
    let codec = Codec::train(&rows, &config, &Device::cpu(), &()).unwrap();
    let error = CodecAlternatives::new(&codec, &rows, None).err().expect("refused").to_string();
    assert!(error.contains("number the items instead"), "{error}");
}

/// The least sum of prices of one prefix's items, by trying all ways.
fn least(prices: &Made, items: &[usize], prefix: &[u32], room: &mut Vec<usize>) -> f64 {
    let Some((item, rest)) = items.split_first() else { return 0.0 };
    let mut out = Vec::new();
    prices.squared_l2(*item, prefix, &mut out).expect("made up");
    let mut best = f64::INFINITY;
    for j in 0..room.len() {
        if room[j] > 0 {
            room[j] -= 1;
            best = best.min(out[j] + least(prices, rest, prefix, room));
            room[j] += 1;
        }
    }
    best
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn relocation_is_unique_optimal_and_blind_to_the_order(
        sizes in prop::collection::vec(1usize..5, 1..4),
        picks in prop::collection::vec(any::<[u8; 3]>(), 1..40),
        capacity in 1usize..4,
        seed in any::<u64>(),
        shuffle in any::<u64>(),
    ) {
        let prices = Made { sizes: sizes.clone(), seed };
        let space = sizes.iter().product::<usize>() * capacity;
        let n = picks.len().min(space);
        let table = picks[..n].iter().flat_map(|p| sizes.iter().zip(p).map(|(k, v)| u32::from(*v) % *k as u32)).collect();
        let codes = Codes::from_vec(n, sizes.len(), table).unwrap();
        let keys = keys(n);
        let resolved = relocate(&keys, &codes, capacity, &prices).unwrap();
        prop_assert!(largest(&resolved.codes) <= capacity);
        let depth = sizes.len() - 1;
        let mut groups = BTreeMap::<&[u32], Vec<usize>>::new();
        (0..n).for_each(|i| groups.entry(&codes.row(i)[..depth]).or_default().push(i));
        for (prefix, items) in groups {
            let same: BTreeSet<_> = items.iter().map(|i| codes.row(*i)).collect();
            let crowded = same.iter().any(|id| codes.iter().filter(|c| c == id).count() > capacity);
            let stays = |i: &&usize| &resolved.codes.row(**i)[..depth] == prefix;
            if !crowded {
                prop_assert!(items.iter().all(|i| resolved.codes.row(*i) == codes.row(*i)), "nobody had to move");
            } else if items.len() <= sizes[depth] * capacity {
                prop_assert!(items.iter().filter(stays).count() == items.len(), "nobody had to leave");
                if items.len() <= 6 {
                    let got: f64 = items.iter().map(|i| prices.squared_l2_of(*i, resolved.codes.row(*i)).unwrap()).sum();
                    let want = least(&prices, &items, prefix, &mut vec![capacity; sizes[depth]]);
                    prop_assert!((got - want).abs() < 1e-9, "{got} {want}");
                }
            } else {
                prop_assert_eq!(items.iter().filter(stays).count(), sizes[depth] * capacity, "no place is left empty");
            }
        }
        // The same items in another order have the same IDs, and the same bits of cost.
        let mut order: Vec<usize> = (0..n).collect();
        let mut stream = rng::stream(shuffle, "shuffle", 0);
        (1..n).rev().for_each(|i| order.swap(i, stream.below(i as u64 + 1) as usize));
        struct Shuffled<'a>(&'a Made, &'a [usize]);
        impl Alternatives for Shuffled<'_> {
            fn codebook_sizes(&self) -> Vec<usize> {
                self.0.codebook_sizes()
            }
            fn squared_l2(&self, item: usize, prefix: &[u32], out: &mut Vec<f64>) -> Result<()> {
                self.0.squared_l2(self.1[item], prefix, out)
            }
        }
        let moved: Vec<u32> = order.iter().flat_map(|i| codes.row(*i).to_vec()).collect();
        let moved = Codes::from_vec(n, sizes.len(), moved).unwrap();
        let moved_keys: Vec<&String> = order.iter().map(|i| &keys[*i]).collect();
        let again = relocate(&moved_keys, &moved, capacity, &Shuffled(&prices, &order)).unwrap();
        prop_assert_eq!(&again.cost, &resolved.cost);
        for (at, i) in order.iter().enumerate() {
            prop_assert_eq!(again.codes.row(at), resolved.codes.row(*i));
        }
        let (a, b) = (number(&keys, &codes).unwrap(), number(&moved_keys, &moved).unwrap());
        prop_assert_eq!(&a.cost, &b.cost);
        prop_assert_eq!((largest(&a.codes), a.cost.ids_after), (1, n));
        for (at, i) in order.iter().enumerate() {
            prop_assert_eq!(b.codes.row(at), a.codes.row(*i));
        }
    }
}
