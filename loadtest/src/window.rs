//! The frames that have been sent and may still be answered.
//!
//! A ring indexed by `seq`. Acks carry no session id, so `seq` runs over all sessions of a lane: it is what tells whose
//! key an ack is to be checked with. A frame leaves when its place is taken again, long after its answer is late.

use std::time::Duration;

/// What sort of message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// One that asks what the fleet is there to ask.
    Plain,
    /// A frame with this bit of its tag flipped: nobody may answer it.
    Forged(u8),
    /// A frame that was sent and answered before.
    Replayed,
}

/// A message that was sent. `A` is what its answer is held against.
#[derive(Clone, Copy, Debug)]
pub struct Sent<A> {
    /// The place of its session among the lane's.
    pub place: usize,
    /// What sort it is.
    pub flavour: Flavour,
    /// When it was due.
    pub due: Duration,
    /// When it was sent.
    pub at: Duration,
    /// What its answer is held against.
    pub asked: A,
}

impl<A> Sent<A> {
    const fn is_forged(&self) -> bool {
        matches!(self.flavour, Flavour::Forged(_))
    }
}

/// What a `seq` stands for.
#[derive(Clone, Copy, Debug)]
pub enum Find<A> {
    /// A frame that waits for its answer.
    Waiting(Sent<A>),
    /// A frame that has been answered.
    Answered(Sent<A>),
    /// No frame in the window.
    Stranger,
}

#[derive(Clone, Copy)]
struct Slot<A> {
    seq: u32,
    sent: Sent<A>,
    answered: bool,
}

/// The most frames that a window may hold.
pub const MAX_WINDOW: usize = 1 << 21;

/// The frames of one lane that may still be answered.
pub struct Window<A> {
    slots: Vec<Option<Slot<A>>>,
    next: u32,
    timeout: Duration,
    /// The first frame whose answer is not late yet.
    fresh: u32,
    waiting: u64,
    overdue: u64,
}

impl<A: Copy> Window<A> {
    /// A window for at least `frames` frames (at most [`MAX_WINDOW`]) whose answers are late after `timeout`.
    pub fn new(frames: usize, timeout: Duration) -> Self {
        let capacity = frames.clamp(MIN_WINDOW, MAX_WINDOW).next_power_of_two();
        Self { slots: vec![None; capacity], next: 0, timeout, fresh: 0, waiting: 0, overdue: 0 }
    }

    /// The `seq` of the next frame.
    pub const fn next_seq(&self) -> u32 {
        self.next
    }

    /// Remembers a frame: the one whose `seq` was [`Self::next_seq`].
    pub fn push(&mut self, sent: Sent<A>) {
        if self.next.wrapping_sub(self.fresh) as usize == self.slots.len() {
            self.pass_fresh();
        }
        let place = self.place(self.next);
        if let Some(gone) = self.slots[place].replace(Slot { seq: self.next, sent, answered: false })
            && awaited(&gone)
        {
            self.waiting -= 1;
            self.overdue -= 1;
        }
        self.waiting += u64::from(!sent.is_forged());
        self.next = self.next.wrapping_add(1);
    }

    /// What a `seq` stands for.
    pub fn find(&self, seq: u32) -> Find<A> {
        match &self.slots[self.place(seq)] {
            Some(slot) if slot.seq == seq && slot.answered => Find::Answered(slot.sent),
            Some(slot) if slot.seq == seq => Find::Waiting(slot.sent),
            _ => Find::Stranger,
        }
    }

    /// Waits for another answer to a frame that has been answered and is sent once more.
    pub fn await_again(&mut self, seq: u32, sent: Sent<A>) {
        let place = self.place(seq);
        let past_timeout = self.is_past(seq);
        if let Some(slot) = &mut self.slots[place]
            && slot.seq == seq
            && slot.answered
        {
            *slot = Slot { seq, sent, answered: false };
            self.waiting += 1;
            self.overdue += u64::from(past_timeout);
        }
    }

    /// Notes that a frame has been answered.
    pub fn answered(&mut self, seq: u32) {
        let place = self.place(seq);
        let past_timeout = self.is_past(seq);
        if let Some(slot) = &mut self.slots[place]
            && slot.seq == seq
        {
            if awaited(slot) {
                self.waiting -= 1;
                self.overdue -= u64::from(past_timeout);
            }
            slot.answered = true;
        }
    }

    /// Lets time pass: counts frames whose answers are late from now on.
    pub fn tick(&mut self, now: Duration) {
        while self.fresh != self.next {
            let slot = &self.slots[self.place(self.fresh)];
            if slot.as_ref().is_some_and(|slot| slot.sent.due + self.timeout >= now) {
                break;
            }
            self.pass_fresh();
        }
    }

    /// Beats that wait for their answers. Forged frames do not.
    pub const fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Those of [`Self::waiting`] whose answers are late: lost, unless they still come.
    pub const fn overdue(&self) -> u64 {
        self.overdue
    }

    fn pass_fresh(&mut self) {
        let place = self.place(self.fresh);
        self.overdue += u64::from(self.slots[place].as_ref().is_some_and(awaited));
        self.fresh = self.fresh.wrapping_add(1);
    }

    /// Whether `tick` has gone past this frame.
    const fn is_past(&self, seq: u32) -> bool {
        let ahead_of_next = self.next.wrapping_sub(seq);
        ahead_of_next > self.next.wrapping_sub(self.fresh)
    }

    const fn place(&self, seq: u32) -> usize {
        seq as usize & (self.slots.len() - 1)
    }
}

const MIN_WINDOW: usize = 1 << 10;

const fn awaited<A>(slot: &Slot<A>) -> bool {
    !slot.answered && !slot.sent.is_forged()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(seq: u32, due_ms: u64, flavour: Flavour) -> Sent<()> {
        let due = Duration::from_millis(due_ms);
        Sent { place: seq as usize, flavour, due, at: due, asked: () }
    }

    fn window() -> Window<()> {
        Window::new(1, Duration::from_millis(100))
    }

    #[test]
    fn a_frame_is_found_until_its_place_is_taken_again() {
        let mut window = window();
        for seq in 0..u32::try_from(MIN_WINDOW).unwrap() {
            assert_eq!(window.next_seq(), seq);
            window.push(sent(seq, 0, Flavour::Plain));
        }
        assert!(matches!(window.find(0), Find::Waiting(sent) if sent.place == 0));
        window.push(sent(window.next_seq(), 0, Flavour::Plain));
        assert!(matches!(window.find(0), Find::Stranger));
        assert_eq!(window.waiting(), MIN_WINDOW as u64);
        assert!(matches!(window.find(5000), Find::Stranger));
    }

    #[test]
    fn a_second_answer_is_told_from_the_first() {
        let mut window = window();
        window.push(sent(0, 0, Flavour::Plain));
        window.answered(0);
        window.answered(0);
        assert!(matches!(window.find(0), Find::Answered(_)));
        assert_eq!(window.waiting(), 0);
    }

    #[test]
    fn a_frame_is_overdue_after_the_timeout_until_it_is_answered() {
        let mut window = window();
        window.push(sent(0, 0, Flavour::Plain));
        window.push(sent(1, 50, Flavour::Plain));
        window.tick(Duration::from_millis(100));
        assert_eq!(window.overdue(), 0);
        window.tick(Duration::from_millis(101));
        assert_eq!((window.overdue(), window.waiting()), (1, 2));
        window.answered(0);
        assert_eq!((window.overdue(), window.waiting()), (0, 1));
        window.answered(1);
        window.tick(Duration::from_secs(9));
        assert_eq!((window.overdue(), window.waiting()), (0, 0));
    }

    #[test]
    fn nobody_waits_for_the_answer_to_a_forged_frame() {
        let mut window = window();
        window.push(sent(0, 0, Flavour::Forged(3)));
        window.tick(Duration::from_secs(9));
        assert_eq!((window.overdue(), window.waiting()), (0, 0));
        assert!(matches!(window.find(0), Find::Waiting(sent) if sent.is_forged()));
    }

    #[test]
    fn a_frame_that_is_sent_once_more_waits_for_another_answer() {
        let mut window = window();
        window.push(sent(0, 0, Flavour::Plain));
        window.await_again(0, sent(0, 10, Flavour::Replayed));
        assert_eq!(window.waiting(), 1, "it has not been answered yet");
        window.answered(0);
        window.await_again(0, sent(0, 10, Flavour::Replayed));
        assert!(matches!(window.find(0), Find::Waiting(sent) if sent.flavour == Flavour::Replayed));
        assert_eq!(window.waiting(), 1);
        window.answered(0);
        assert_eq!((window.waiting(), window.overdue()), (0, 0));
    }
}
