//! The libraries for Python. What Python's users see is in `py_src/sememe`, which calls this.

mod buffer;
mod codec;
mod device;
mod distributed;
mod errors;
mod evaluation;
mod ids;
mod import;
mod minibatch;
mod pool;
mod program;
mod recommend;
mod rows;
mod store;
mod text;
mod train;
mod trie;
mod values;
mod work;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
mod _sememe {
    #[pymodule_export]
    use super::codec::Codec;
    #[pymodule_export]
    use super::device::device_info;
    #[pymodule_export]
    use super::distributed::{DistributedTrainer, MergedAnswers, RoundAnswer, measure_round, round_measures};
    #[pymodule_export]
    use super::evaluation::evaluate;
    #[pymodule_export]
    use super::ids::{Format, Tokens, align, count_up, measure_churn, move_apart};
    #[pymodule_export]
    use super::import::{export_to, import_from};
    #[pymodule_export]
    use super::minibatch::MiniBatch;
    #[pymodule_export]
    use super::pool::set_threads;
    #[pymodule_export]
    use super::program::program;
    #[pymodule_export]
    use super::recommend::{Recommender, default_recommender, train_recommender};
    #[pymodule_export]
    use super::rows::{Rows, Spool, Stream};
    #[pymodule_export]
    use super::store::Store;
    #[pymodule_export]
    use super::text::{TextModel, run_config, write_dialogues};
    #[pymodule_export]
    use super::train::{default_settings, train};
    #[pymodule_export]
    use super::trie::Trie;

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::pool::loaded();
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
