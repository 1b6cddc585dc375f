//! Panics of whatever answers a request: the caller is told, and everybody else is served. The process's panic hook, which
//! comes first, has told the log.

use std::{future::Future, panic::AssertUnwindSafe};

use futures_util::FutureExt;

use super::{Code, Problem};

/// Answers, or says that answering has panicked. What is shared by requests is behind locks that are not poisoned or is
/// written in one step, so that the next request finds it whole.
///
/// # Errors
///
/// 500, when there was a panic.
pub async fn caught<T>(answering: impl Future<Output = T>) -> Result<T, Problem> {
    AssertUnwindSafe(answering).catch_unwind().await.map_err(|_| failed())
}

/// The same of what is answered in one go.
///
/// # Errors
///
/// 500, when there was a panic.
pub fn caught_at_once<T>(answering: impl FnOnce() -> T) -> Result<T, Problem> {
    std::panic::catch_unwind(AssertUnwindSafe(answering)).map_err(|_| failed())
}

fn failed() -> Problem {
    Problem::because(Code::Internal, "the service failed; its log says why")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_a_problem_and_an_answer_stays_one() {
        let gone = |what: Option<u8>| what.expect("it is there");
        assert_eq!(caught(async { gone(Some(1)) }).await.ok(), Some(1));
        assert_eq!(caught(async { gone(None) }).await.unwrap_err().code(), Code::Internal);
        assert_eq!(caught_at_once(|| gone(Some(1))).ok(), Some(1));
        assert_eq!(caught_at_once(|| gone(None)).unwrap_err().code(), Code::Internal);
    }
}
