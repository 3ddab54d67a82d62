//! What changed between two codecs, for the verbs that compare.

use crate::input::{Input, encode_all};
use crate::progress::Progress;
use crate::text::{percent, whole};
use sememe::eval::Churn;
use sememe::{Codec, Codes, Device, EncodeOptions};

/// The codes of all rows by either codec.
pub fn both(
    old: &Codec,
    new: &Codec,
    input: &Input,
    device: &Device,
    progress: &Progress,
) -> sememe::Result<(Codes, Codes)> {
    let codes = |codec: &Codec| encode_all(&codec.encoder(device, &EncodeOptions::default())?, codec, input, progress);
    Ok((codes(old)?, codes(new)?))
}

/// The headline.
pub fn text(churn: &Churn) -> String {
    let (changed, rows) = (whole(churn.changed_ids as u64), whole(churn.rows as u64));
    format!("{changed} of {rows} IDs changed ({})\n", percent(churn.changed()))
}

/// A row a depth.
pub fn table(churn: &Churn) -> String {
    let head = ["depth", "prefix changed", "code changed", "changed here", "kept together", "together before"];
    let mut rows = vec![head.map(String::from).to_vec()];
    for (depth, level) in churn.levels.iter().enumerate() {
        let shares =
            [level.changed, level.code_changed, level.changed_here, level.kept_together, level.together_before];
        rows.push(std::iter::once((depth + 1).to_string()).chain(shares.map(percent)).collect());
    }
    crate::text::table(&rows, &[])
}
