//! A runtime in the lane's own thread: tasks run while the lane waits for answers, and nothing crosses threads.

use std::{
    future::Future,
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    runtime::{Builder, Handle, Runtime},
    sync::Notify,
};

use super::Answer;
use crate::clock::Clock;

/// A runtime that runs only when it is given a turn.
pub(super) struct Driver {
    runtime: Runtime,
    /// The runtime's own timers count in milliseconds: a beat that is due in 200 us would be late.
    alarm: AsyncFd<OwnedFd>,
    inbox: Arc<Inbox>,
}

/// What has come, until the lane takes it.
pub(super) struct Inbox {
    clock: Clock,
    answers: Mutex<Vec<Answer>>,
    news: Notify,
    runtime: Handle,
}

/// How many answers may wait for the lane. It takes all in each turn; what is beyond is a server gone wild.
const MOST: usize = 1 << 20;

impl Driver {
    pub(super) fn new(clock: Clock) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let alarm = {
            let _inside = runtime.enter();
            watch(timer)?
        };
        let inbox = Arc::new(Inbox {
            clock,
            answers: Mutex::default(),
            news: Notify::new(),
            runtime: runtime.handle().clone(),
        });
        Ok(Self { runtime, alarm, inbox })
    }

    pub(super) const fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    pub(super) const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Lets tasks run until there is an answer, or `wait` has passed; then hands over what there is.
    pub(super) fn turn(&mut self, wait: Duration, answers: &mut Vec<Answer>) -> io::Result<()> {
        let (alarm, inbox) = (&self.alarm, &self.inbox);
        self.runtime.block_on(async {
            tokio::task::yield_now().await;
            if wait.is_zero() || !inbox.lock().is_empty() {
                return Ok(());
            }
            set(alarm, wait)?;
            tokio::select! {
                () = inbox.news.notified() => Ok(()),
                rung = rings(alarm) => rung,
            }
        })?;
        answers.append(&mut self.inbox.lock());
        Ok(())
    }

    /// Lets tasks run until this future is done.
    pub(super) fn until<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }
}

impl Inbox {
    /// Takes something that has come.
    pub(super) fn push(&self, answer: Answer) {
        let mut answers = self.lock();
        if answers.len() < MOST {
            answers.push(answer);
        }
        drop(answers);
        self.news.notify_one();
    }

    /// Starts a task: it runs in the next turn.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// The time, on the program's clock.
    pub(super) fn now(&self) -> Duration {
        self.clock.now()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(
    deprecated,
    reason = "what replaces it is unsafe for types that may lie about their descriptor: this one cannot"
)]
fn watch(timer: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(timer, Interest::READABLE)
}

fn set(alarm: &AsyncFd<OwnedFd>, wait: Duration) -> io::Result<()> {
    let value = Timespec::try_from(wait).map_err(io::Error::other)?;
    let once = Itimerspec { it_interval: Timespec::default(), it_value: value };
    timerfd_settime(alarm.get_ref(), TimerfdTimerFlags::empty(), &once)?;
    Ok(())
}

async fn rings(alarm: &AsyncFd<OwnedFd>) -> io::Result<()> {
    loop {
        let mut ready = alarm.readable().await?;
        let mut count = [0; 8];
        match rustix::io::read(alarm.get_ref(), &mut count) {
            Ok(_) => return Ok(()),
            // An earlier alarm had rung unheard, and this one has not yet.
            Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
            Err(error) => return Err(error.into()),
        }
    }
}
