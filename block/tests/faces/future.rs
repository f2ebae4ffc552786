//! Futures, polled by hand.

use std::cell::RefCell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

use paravane_block::{
    BlockBuffer, Completion, Operation, Request, RequestFault, RequestQueue as _, SubmitError, Tasks,
};
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;

use crate::ram::{Bench, Ram, SECTOR};

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn woken() -> (Arc<Woken>, Waker) {
    let woken = Arc::<Woken>::default();
    (woken.clone(), woken.into())
}

fn tasks(bench: &Bench, count: u16) -> Tasks<BlockBuffer, Ram> {
    Tasks::new(bench.queue(512), count).map_err(|failed| failed.into_error()).unwrap()
}

fn read(bench: &Bench, sector: u64) -> Request<BlockBuffer> {
    let mut buffer = bench.pool.get().unwrap();
    assert!(buffer.set_len_bytes(SECTOR));
    Request::read(sector, buffer)
}

fn first_byte(completion: &Completion<BlockBuffer>) -> u8 {
    let mut byte = [0];
    assert!(completion.request.data.as_ref().unwrap().copy_out(0, &mut byte));
    byte[0]
}

#[test]
fn a_future_is_ready_when_its_request_is_done_and_keeps_its_token() {
    let bench = Bench::new(8);
    bench.state().does = 0;
    let tasks = tasks(&bench, 4);
    let (count, waker) = woken();
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(tasks.submit(read(&bench, 9).with_token(77)).unwrap());
    assert!(future.as_mut().poll(&mut context).is_pending());
    assert_eq!(tasks.wake(), Ok(0));
    assert_eq!(count.0.load(SeqCst), 0);
    bench.state().does = 1;
    assert_eq!(tasks.wake(), Ok(1));
    assert_eq!(count.0.load(SeqCst), 1);
    let Poll::Ready(Ok(completion)) = future.as_mut().poll(&mut context) else { panic!("it is done") };
    assert_eq!((completion.request.token, first_byte(&completion)), (77, 9));
    assert!(future.as_mut().poll(&mut context).is_pending(), "it is over");
}

#[test]
fn who_has_no_interrupts_polls_and_each_future_finds_its_own() {
    let bench = Bench::new(8);
    bench.state().shuffles = true;
    let tasks = tasks(&bench, 4);
    let (count, waker) = woken();
    let mut context = Context::from_waker(&waker);
    let mut one = pin!(tasks.submit(read(&bench, 1)).unwrap());
    let mut two = pin!(tasks.submit(read(&bench, 2)).unwrap());
    let Poll::Ready(Ok(completion)) = one.as_mut().poll(&mut context) else { panic!("it is done") };
    assert_eq!(first_byte(&completion), 1);
    let Poll::Ready(Ok(completion)) = two.as_mut().poll(&mut context) else { panic!("found by the other") };
    assert_eq!(first_byte(&completion), 2);
    assert_eq!(count.0.load(SeqCst), 0, "nobody slept");
}

#[test]
fn an_error_names_the_request_by_its_owners_token() {
    let bench = Bench::new(8);
    bench.state().bad_sector = Some(3);
    let tasks = tasks(&bench, 4);
    let mut future = pin!(tasks.submit(read(&bench, 3).with_token(5)).unwrap());
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(completion)) = future.as_mut().poll(&mut context) else { panic!("it is done") };
    let error = completion.result.unwrap_err();
    assert_eq!((error.token, error.fault), (5, RequestFault::Io));
    assert_eq!(error.operation, Operation::Read { sector: 3 });
}

#[test]
fn a_future_that_is_dropped_parks_its_buffer_which_comes_home_later() {
    let bench = Bench::new(4);
    bench.state().does = 0;
    let tasks = tasks(&bench, 2);
    let mut context = Context::from_waker(Waker::noop());
    {
        let mut dropped = pin!(tasks.submit(read(&bench, 1)).unwrap());
        assert!(dropped.as_mut().poll(&mut context).is_pending());
        drop(tasks.submit(read(&bench, 2)).unwrap());
    }
    assert_eq!((tasks.parked(), bench.pool.free()), (1 + 1, 2), "the device may write there");
    let (error, request) = tasks.submit(read(&bench, 3).with_token(8)).err().unwrap().into_parts();
    assert_eq!((error, request.token), (SubmitError::Full, 8));
    drop(request);
    bench.state().does = usize::MAX;
    assert_eq!(tasks.wake(), Ok(2));
    assert_eq!(tasks.parked(), 0);
    bench.assert_home();
    // There is room again, and a late answer is nobody else's.
    let mut next = pin!(tasks.submit(read(&bench, 3)).unwrap());
    let Poll::Ready(Ok(completion)) = next.as_mut().poll(&mut context) else { panic!("it is done") };
    assert_eq!(first_byte(&completion), 3);
}

#[test]
fn a_future_that_is_dropped_when_it_is_done_gives_its_place_back() {
    let bench = Bench::new(4);
    let tasks = tasks(&bench, 1);
    for _ in 0..3 {
        let future = tasks.submit(read(&bench, 1)).unwrap();
        assert_eq!(tasks.wake(), Ok(1));
        assert_eq!(bench.pool.free(), 3, "it is the future's");
        drop(future);
        bench.assert_home();
    }
}

#[test]
fn what_the_queue_refuses_takes_no_place() {
    let bench = Bench::new(4);
    let tasks = tasks(&bench, 1);
    for _ in 0..2 {
        let (error, request) = tasks.submit(read(&bench, 64).with_token(6)).err().unwrap().into_parts();
        assert!(matches!(error, SubmitError::OutOfRange { .. }));
        assert_eq!(request.token, 6);
    }
    drop(tasks.submit(read(&bench, 0)).unwrap());
    assert_eq!(tasks.into_queue().in_flight(), 1);
}

#[test]
fn what_came_while_it_went_to_sleep_is_looked_for_again() {
    let bench = Bench::new(4);
    (bench.state().does, bench.state().arms_late) = (0, true);
    let tasks = tasks(&bench, 1);
    let (count, waker) = woken();
    let mut future = pin!(tasks.submit(read(&bench, 1)).unwrap());
    assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!((count.0.load(SeqCst), tasks.arm()), (1, Ok(Armed::Pending)));
}

#[test]
fn the_last_who_asked_is_woken() {
    let bench = Bench::new(4);
    bench.state().does = 0;
    let tasks = tasks(&bench, 1);
    let ((first, one), (second, two)) = (woken(), woken());
    let mut future = pin!(tasks.submit(read(&bench, 1)).unwrap());
    for waker in [&one, &two] {
        assert!(future.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
    }
    bench.state().does = 1;
    assert_eq!(tasks.wake(), Ok(1));
    assert_eq!((first.0.load(SeqCst), second.0.load(SeqCst)), (0, 1));
}

/// A queue that is broken has nothing more to interrupt for: who waits for that waits for ever.
#[test]
fn a_queue_that_turns_out_broken_before_a_sleep_wakes_everybody() {
    for by_a_future in [true, false] {
        let bench = Bench::new(4);
        bench.state().does = 0;
        let tasks = tasks(&bench, 3);
        let (count, waker) = woken();
        let mut one = pin!(tasks.submit(read(&bench, 1)).unwrap());
        assert!(one.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        bench.state().arm_fault = Some(DeviceFault::NeedsReset);
        if by_a_future {
            let mut two = pin!(tasks.submit(read(&bench, 2)).unwrap());
            let told = two.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(told, Poll::Ready(Err(DeviceFault::NeedsReset))));
        } else {
            assert_eq!(tasks.arm(), Err(DeviceFault::NeedsReset));
        }
        assert_eq!(count.0.load(SeqCst), 1);
    }
}

thread_local! {
    /// What goes with the last of the wakers below.
    static LAST: RefCell<Option<Pin<Box<dyn Future<Output = ()>>>>> = const { RefCell::new(None) };
}

/// A waker of a task that is over, and takes the task's memory with it.
struct Owner;

impl Wake for Owner {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Owner {
    fn drop(&mut self) {
        LAST.with(|last| drop(last.take()));
    }
}

#[test]
fn a_task_that_goes_with_its_waker_may_have_futures_of_the_same_queue() {
    for by_a_drop in [false, true] {
        let bench = Bench::new(4);
        bench.state().does = 0;
        let tasks: &'static Tasks<_, _> = Box::leak(Box::new(tasks(&bench, 3)));
        let mut future = Box::pin(tasks.submit(read(&bench, 1)).unwrap());
        let other = tasks.submit(read(&bench, 2)).unwrap();
        let owner = Waker::from(Arc::new(Owner));
        LAST.with(|last| *last.borrow_mut() = Some(Box::pin(async { _ = other.await })));
        assert!(future.as_mut().poll(&mut Context::from_waker(&owner)).is_pending());
        drop(owner);
        assert_eq!(tasks.parked(), 0);
        if by_a_drop {
            drop(future);
            assert_eq!(tasks.parked(), 2);
        } else {
            assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            assert_eq!(tasks.parked(), 1, "the other");
        }
    }
}

#[test]
fn a_broken_queue_wakes_everybody_and_keeps_what_it_has() {
    let bench = Bench::new(4);
    bench.state().does = 0;
    let tasks = tasks(&bench, 3);
    let (count, waker) = woken();
    let mut context = Context::from_waker(&waker);
    let mut one = pin!(tasks.submit(read(&bench, 1)).unwrap());
    let mut two = pin!(tasks.submit(read(&bench, 2)).unwrap());
    assert!(one.as_mut().poll(&mut context).is_pending() && two.as_mut().poll(&mut context).is_pending());
    bench.state().fault = Some(DeviceFault::NeedsReset);
    assert_eq!(tasks.wake(), Err(DeviceFault::NeedsReset));
    assert_eq!(count.0.load(SeqCst), 2);
    for future in [&mut one, &mut two] {
        let told = future.as_mut().poll(&mut context);
        assert!(matches!(told, Poll::Ready(Err(DeviceFault::NeedsReset))));
    }
    assert_eq!(bench.pool.free(), 2);
}
