//! Event files for TensorBoard, and runs that were killed while they wrote them.

use std::fs;
use std::path::{Path, PathBuf};

use sememe_run::track::EventWriter;

use sememe_testkit::files::error;

const START: u64 = 1_700_000_000;
const NAME: &str = "events.out.tfevents.1700000000.sememe.000";

/// What the tests say of an event: step, wall time, values; `None` for the one that opens a file.
type Seen = Option<(u64, f64, Vec<(String, f32)>)>;

/// CRC-32C bit by bit, by another way than the library's table.
fn masked_crc(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 };
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xA282_EAD8)
}

/// A record of fewer than 256 bytes.
fn framed(payload: &[u8]) -> Vec<u8> {
    let length = [payload.len() as u8, 0, 0, 0, 0, 0, 0, 0];
    let crcs = [masked_crc(&length).to_le_bytes(), masked_crc(payload).to_le_bytes()];
    [&length, &crcs[0][..], payload, &crcs[1]].concat()
}

/// A reader of fields that panics at whatever this writer has no reason to write.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(bytes);
        self.0 = rest;
        taken
    }

    fn varint(&mut self) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.take(1)[0];
            value |= u64::from(byte & 0x7F) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    }

    fn bytes(&mut self) -> Fields<'a> {
        let count = self.varint() as usize;
        Fields(self.take(count))
    }

    fn has(&mut self, key: u8) -> bool {
        let has = self.0.first() == Some(&key);
        self.0 = &self.0[usize::from(has)..];
        has
    }
}

fn event(payload: &[u8]) -> Seen {
    let mut fields = Fields(payload);
    assert!(fields.has(0x09), "wall time");
    let wall_time = f64::from_le_bytes(fields.take(8).try_into().unwrap());
    let step = if fields.has(0x10) { fields.varint() } else { 0 };
    if fields.has(0x1A) {
        assert_eq!((step, fields.bytes().0), (0, &b"brain.Event:2"[..]));
        assert!(fields.0.is_empty());
        return None;
    }
    assert!(fields.has(0x2A), "summary");
    let mut summary = fields.bytes();
    assert!(fields.0.is_empty());
    let mut values = Vec::new();
    while !summary.0.is_empty() {
        assert!(summary.has(0x0A), "value");
        let mut value = summary.bytes();
        assert!(value.has(0x0A), "tag");
        let tag = String::from_utf8(value.bytes().0.to_vec()).unwrap();
        assert!(value.has(0x15), "simple value");
        values.push((tag, f32::from_le_bytes(value.take(4).try_into().unwrap())));
        assert!(value.0.is_empty());
    }
    Some((step, wall_time, values))
}

/// Every event of a file, and where each record ends.
fn read(path: &Path) -> (Vec<Seen>, Vec<usize>) {
    let file = fs::read(path).unwrap();
    let (mut seen, mut ends, mut fields) = (Vec::new(), Vec::new(), Fields(&file));
    while !fields.0.is_empty() {
        let length = fields.take(8);
        assert_eq!(fields.take(4), masked_crc(length).to_le_bytes());
        let payload = fields.take(u64::from_le_bytes(length.try_into().unwrap()) as usize);
        assert_eq!(fields.take(4), masked_crc(payload).to_le_bytes());
        seen.push(event(payload));
        ends.push(file.len() - fields.0.len());
    }
    (seen, ends)
}

fn write(events: &mut EventWriter, steps: std::ops::Range<u64>) {
    for step in steps {
        let values = [("loss/total", 1.0 / (step + 1) as f32), ("utilisation/level 0", 0.5)];
        events.scalar(step, START as f64 + step as f64 / 4.0, &values).unwrap();
    }
}

/// A run of `steps` steps that nothing happened to, and its file.
fn run(folder: &Path, steps: u64) -> PathBuf {
    let mut events = EventWriter::create_at(folder, START).unwrap();
    write(&mut events, 0..steps);
    events.path().to_path_buf()
}

pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_strict_reader_knows_its_checksum() {
    // The published check value of CRC-32C is 0xE3069283.
    assert_eq!(masked_crc(b"123456789"), 0xE306_9283_u32.rotate_right(15).wrapping_add(0xA282_EAD8));
}

/// The fixture was read back value by value with TensorBoard 2.21.0's own reader (`EventAccumulator`), and TensorBoard's
/// own `RecordWriter` and `Event` messages give the same bytes for the same calls.
#[test]
fn event_files_are_what_tensorboard_reads() {
    let folder = tempfile::tempdir().unwrap();
    let mut events = EventWriter::create_at(folder.path(), START).unwrap();
    let start = START as f64;
    events.scalar(0, start + 0.5, &[("loss/total", 1.5), ("usage", 0.0)]).unwrap();
    events.scalar(300, start + 60.25, &[("loss/total", 0.125), ("usage", -0.0)]).unwrap();
    events.scalar(1 << 40, start + 61.0, &[("loss/total", f32::INFINITY)]).unwrap();
    events.sync().unwrap();
    assert_eq!(
        fs::read(events.path()).unwrap(),
        fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(NAME)).unwrap()
    );
}

#[test]
fn a_record_byte_by_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = run(folder.path(), 0);
    let mut payload = vec![0x09];
    payload.extend(1.7e9_f64.to_le_bytes());
    payload.extend(b"\x1A\x0Dbrain.Event:2");
    assert_eq!(fs::read(path).unwrap(), framed(&payload));
}

#[test]
fn events_make_a_round_trip() {
    let folder = tempfile::tempdir().unwrap();
    // Enough for the buffer to be written several times in between.
    let (seen, _) = read(&run(&folder.path().join("made/on the way"), 3000));
    assert_eq!(seen.len(), 3001);
    assert_eq!(seen[0], None);
    for (step, seen) in seen[1..].iter().enumerate() {
        let values = vec![("loss/total".into(), 1.0 / (step + 1) as f32), ("utilisation/level 0".into(), 0.5)];
        assert_eq!(*seen, Some((step as u64, START as f64 + step as f64 / 4.0, values)));
    }
}

#[test]
fn a_run_killed_at_any_byte_resumes_to_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(run(folder.path(), 6)).unwrap();
    let (_, ends) = read(&folder.path().join(NAME));
    for cut in 0..=whole.len() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        fs::write(&path, &whole[..cut]).unwrap();
        // The checkpoint: the last step of which the file is sure to hold the record, and one earlier.
        let on_disk = ends[1..].iter().filter(|end| **end <= cut).count() as u64;
        for before in [on_disk, on_disk.saturating_sub(1)] {
            let mut events = EventWriter::resume(folder.path(), before).unwrap();
            assert_eq!(events.path(), path);
            write(&mut events, before..6);
            drop(events);
            assert!(fs::read(&path).unwrap() == whole, "cut at byte {cut}, resumed at step {before}");
        }
        assert_eq!(names(folder.path()), [NAME]);
    }
}

#[test]
fn damage_ends_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = run(folder.path(), 6);
    let whole = fs::read(&path).unwrap();
    let (_, ends) = read(&path);
    // One bit anywhere in the record of step 2, its length included.
    for at in ends[2]..ends[3] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        drop(EventWriter::resume(folder.path(), 100).unwrap());
        assert!(fs::read(&path).unwrap() == whole[..ends[2]], "byte {at}");
    }
    // What a file system may leave after a loss of power.
    fs::write(&path, [&whole[..], &[0; 5000]].concat()).unwrap();
    assert!(error(EventWriter::append(&path)).contains("5000 bytes after byte"));
    drop(EventWriter::resume(folder.path(), 100).unwrap());
    assert!(fs::read(&path).unwrap() == whole);
}

#[test]
fn resume_rewrites_every_file_of_the_run_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let foreign = folder.join("events.out.tfevents.1700000000.host.7.0");
    fs::copy(run(folder, 4), &foreign).unwrap();
    let theirs = fs::read(&foreign).unwrap();
    write(&mut EventWriter::create_at(folder, START).unwrap(), 4..8);
    write(&mut EventWriter::create_at(folder, START + 5).unwrap(), 8..12);
    let left = format!(".{}.99-0.tmp", &NAME[..40]);
    fs::write(folder.join(left), "half").unwrap();
    let expected = [NAME, "events.out.tfevents.1700000000.sememe.001", "events.out.tfevents.1700000005.sememe.000"];

    let before = fs::metadata(folder.join(NAME)).unwrap().modified().unwrap();
    let mut events = EventWriter::resume(folder, 6).unwrap();
    assert_eq!(events.path(), folder.join(expected[2]));
    write(&mut events, 6..7);
    events.flush().unwrap();

    let steps = |name: &str| read(&folder.join(name)).0.into_iter().map(|e| e.map(|e| e.0)).collect::<Vec<_>>();
    assert_eq!(steps(expected[0]), [None, Some(0), Some(1), Some(2), Some(3)]);
    assert_eq!(steps(expected[1]), [None, Some(4), Some(5)]);
    assert_eq!(steps(expected[2]), [None, Some(6)]);
    assert_eq!(fs::read(&foreign).unwrap(), theirs);
    assert_eq!(fs::metadata(folder.join(NAME)).unwrap().modified().unwrap(), before, "nothing to rewrite there");
    assert_eq!(names(folder), [&["events.out.tfevents.1700000000.host.7.0"][..], &expected].concat());
}

#[test]
fn resume_without_a_run_starts_one() {
    let folder = tempfile::tempdir().unwrap();
    for folder in [folder.path().join("missing"), folder.path().into()] {
        let mut events = EventWriter::resume(&folder, 5).unwrap();
        write(&mut events, 5..6);
        events.flush().unwrap();
        assert_eq!(read(events.path()).0.len(), 2);
    }
}

#[test]
fn append_goes_on_and_refuses_what_is_torn() {
    let folder = tempfile::tempdir().unwrap();
    let path = run(folder.path(), 3);
    write(&mut EventWriter::append(&path).unwrap(), 3..6);
    let whole = fs::read(run(&folder.path().join("other"), 6)).unwrap();
    assert_eq!(fs::read(&path).unwrap(), whole);
    for torn in [&whole[..whole.len() - 1], &whole[..7], &[]] {
        fs::write(&path, torn).unwrap();
        assert!(error(EventWriter::append(&path)).contains("resume the run instead"));
        assert_eq!(fs::read(&path).unwrap(), torn);
    }
    assert!(error(EventWriter::append(folder.path().join("none"))).contains("cannot open"));
}

#[test]
fn what_is_no_event_file_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(NAME);
    let text = "somebody's notes, which are longer than a first record".as_bytes();
    fs::write(&path, text).unwrap();
    assert!(error(EventWriter::resume(folder.path(), 5)).contains("is no event file"));
    // A whole record of something else.
    let record = framed(b"\x0B?");
    fs::write(&path, &record).unwrap();
    assert!(error(EventWriter::resume(folder.path(), 5)).contains("holds no event"));
    assert_eq!(fs::read(&path).unwrap(), record);
    // A length that no file could hold, with a good checksum.
    let mut record = vec![0xFF; 8];
    record.extend(masked_crc(&record).to_le_bytes());
    record.extend([0; 64]);
    fs::write(&path, &record).unwrap();
    assert!(error(EventWriter::resume(folder.path(), 5)).contains("is no event file"));
    assert_eq!(names(folder.path()), [NAME]);
}

#[test]
fn events_that_cannot_be_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut events = EventWriter::create_at(folder.path(), START).unwrap();
    assert!(error(events.scalar(1 << 63, 0.5, &[("a", 1.0)])).contains("9223372036854775808"));
    assert!(error(events.scalar(1, f64::NAN, &[("a", 1.0)])).contains("NaN"));
    events.flush().unwrap();
    assert_eq!(read(events.path()).0, [None]);
}
