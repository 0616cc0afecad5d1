// core/link.h -- a framed byte pipe to a neighbour: the parent, or one child.
//
// A link reads always, but for a child that does not read what it made us answer, or whose subtree says more
// than the way up takes; it checks every header, answers heartbeats, keeps its window, and closes itself when
// the peer breaks a rule or falls silent. It writes eagerly and gathers what was sent in one round of the
// loop; control goes before data, data is served in deficit round-robin (core/scheduler.h). It knows nothing
// of routes: frames go to its Owner (a handshake first, then the Router).
//
// A part of the window is for calls and replies alone (streams 0 and 1), so that they pass when everybody who
// reads a stream has stopped. Windows count wire bytes, header included, so that empty frames are not free
// (docs/design/001-windows.md). Thread: the loop's. The owner destroys a link, but never inside one of the
// link's own calls to it.
#pragma once

#include <functional>
#include <memory>

#include "core/alive.h"
#include "core/fd.h"
#include "core/frame.h"
#include "core/loop.h"
#include "core/scheduler.h"
#include "core/table.h"

namespace banyan {

// How long silence may last, and how much may lie about. Given to a child with its identity.
struct LinkLimits {
  Nanos heartbeat_every = 5 * kSecond;     // idle time before we ask
  Nanos lost_after = 15 * kSecond;         // silence before we judge; a child judges its parent by the next
  Nanos parent_lost_after = 20 * kSecond;  // later than the parent judges us, so the two never both act
  Nanos frame_deadline = 30 * kSecond;     // a frame once begun is complete by then
  std::uint32_t window = 2 << 20;          // first link window, bytes
  std::uint32_t window_max = 16 << 20;     // fills 1 Gbit/s at 128 ms
  // Control that waits: of our own, then a peer that makes us answer and does not read is closed; and as much
  // of each other link's, which is then to blame.
  std::uint32_t control_queue_max = 1 << 20;
  // Routes, credit, heartbeats, of each context that speaks through a link: far above honest, far below harm.
  std::uint32_t control_per_second = 50'000;
};

// Growth of all windows in a process comes out of one purse: enough for one link and one stream on it at
// their widest.
struct WindowBudget {
  std::uint64_t left = 32 << 20;
};

// The link's two descriptors; the same number twice for a socket. Owned by the link.
struct LinkFds {
  int read = -1;
  int write = -1;
};

class Link {
 public:
  class Owner {
   public:
    // One checked frame that is not the link's own business. `payload` is valid during the call. Data frames
    // hold the link's window until release() is called for their wire_bytes().
    virtual void on_frame(Link& link, const Header& header, Bytes payload) = 0;
    // Control given to forward_control() waits no more.
    virtual void on_control_left(Link&) {}
    // A data frame given to send() has left for the kernel. `origin` as given there.
    virtual void on_sent(Link& link, std::uint32_t origin, const Header& header) = 0;
    // The link is closed: by the peer (kLost), by its fault (kProtocol), by silence (kLost). Once; after it,
    // only destruction. `unsent` are the data frames that never left.
    virtual void on_down(Link& link, const Error& error, FrameQueue unsent) = 0;

   protected:
    ~Owner() = default;
  };

  Link(Loop& loop, LinkFds fds, Owner& owner, const LinkLimits& limits, WindowBudget& budget, bool to_parent);
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  ~Link();

  void set_owner(Owner& owner) { owner_ = &owner; }
  // Before the first frame after the handshake: the limits the parent's identity brought.
  void set_limits(const LinkLimits& limits);

  // Queues one control frame, ahead of all data; sets its length. REQUIRES: header.has(kControl). A peer that
  // lets control_queue_max of them pile up is closed (kStalled); of answers to data sixteen times as much:
  // more than one window of the smallest frames that end all at once.
  void send_control(Header header, Bytes payload = {});
  // The same for one that came in on the link `origin`, and not at this link's risk: false, and nothing is
  // queued, if control_queue_max of that origin wait already.
  bool forward_control(std::uint32_t origin, Header header, Bytes payload);
  // Half of that waits: time to read no more of it, until on_control_left().
  bool is_crowded_by(std::uint32_t origin) const;
  // Queues one data frame; copies what cannot leave at once. `origin` names who is charged: the serial of the
  // link it came in on, or 0 for ourselves; on_sent() tells when the charge ends, perhaps before this
  // returns.
  void send(std::uint32_t origin, const Header& header, Bytes payload);

  // Reads nothing until resume(): what comes next has nowhere to go. That silence is not held against the
  // peer.
  void pause() { is_held_up_ = true; }
  void resume();

  // Writes what is queued and may leave, now instead of at the end of this round of the loop. May close the
  // link, and tell the owner.
  void flush();

  // `bytes` that came in here were consumed, or have left through another link.
  void release(std::size_t bytes);

  // Closes without a word to the owner. Idempotent. What is queued is dropped.
  void close();
  // Closes as if the peer had failed: the owner hears on_down, from the loop, not from inside this call.
  void fail(Error error);
  bool is_open() const { return fds_.read >= 0; }

  // So many contexts more, or fewer, speak through this link. So whoever passes on what its children say is
  // not to blame for it: each was counted where it came in. Beyond `voices_max` they count no more.
  void add_voices(int count);
  void set_voices_max(std::uint32_t voices) { voices_max_ = voices; }

  std::uint32_t serial() const { return serial_; }
  void set_serial(std::uint32_t serial) { serial_ = serial; }
  Nanos round_trip() const { return round_trip_; }  // of the last heartbeat; 0: not known yet
  std::size_t queued_bytes() const { return calls_.bytes() + streams_.bytes(); }
  // Whether a data frame of such a source waits: one walk through what waits.
  bool has_frames(const Function<bool(ContextId)>& of_source) const {
    return calls_.has_frames(of_source) || streams_.has_frames(of_source);
  }
  // Those of such sources never leave, and on_sent is not told of them.
  FrameQueue discard_frames(const Function<bool(ContextId)>& is_gone);
  // How many data frames may wait, and how many bytes of control of our own do.
  std::size_t backlog() const { return queued_bytes() / kHeaderBytes + control_of_ours_; }
  bool has_unsent() const { return staged_bytes() > 0 || !control_.empty() || queued_bytes() > 0; }
  std::uint32_t held() const { return held_; }  // bytes that came in and were not released

  // Shows the header of every frame that comes in or goes out from now on, heartbeats and credit too.
  using FrameWatcher = Function<void(bool outgoing, const Header&)>;
  void watch_frames(FrameWatcher watcher) { watcher_ = std::move(watcher); }

  // Bytes read beside the handshake, before the link existed. At most once, before anything else is read.
  void take_early_bytes(Bytes bytes);

 private:
  friend struct Inspector;  // of tests/simulation
  void on_ready(Ready ready);
  void set_reading(bool reading);
  bool is_paused() const;
  void read_on();
  bool on_readable();
  void decode();
  std::uint32_t heard_voices() const { return voices_ < voices_max_ ? voices_ : voices_max_; }
  std::uint64_t control_rate() const { return std::uint64_t(limits_.control_per_second) * heard_voices(); }
  void refill_control(Nanos now);
  bool take_control_token(const Header& header);
  void earn_control_token();
  bool on_link_control(const Header& header, Bytes payload);
  void give_credit(std::uint32_t growth);
  void on_blocked();
  std::uint32_t grow();

  bool queue_control(std::uint32_t& queued, std::uint32_t max, Header header, Bytes payload);
  std::size_t staged_bytes() const { return staged_.size() - staged_at_; }
  void encode(const Header& header, std::uint8_t* to) const;
  void append_frame(Buffer& to, const Header& header, Bytes payload);
  void write_through(const Header& header, Bytes payload);
  void drop_written(std::size_t bytes);
  void flush_soon();
  void on_room();
  void stage_control();
  FrameScheduler* whose_turn();
  FrameQueue drain();
  void stage_data();
  void wait_for_room(bool wait);
  void on_write_failed(int error);

  void arm_silence_timer();
  void check_silence();
  void go_down(Error error);

  Loop& loop_;
  LinkFds fds_;
  Owner* owner_;
  LinkLimits limits_;
  WindowBudget& budget_;
  const bool to_parent_;
  std::uint32_t serial_ = 0;
  FrameWatcher watcher_;

  Loop::WatchId read_watch_ = 0, write_watch_ = 0;
  Loop::TimerId silence_timer_ = 0;
  Alive alive_;  // for tasks posted by a link that may be gone

  // In. The buffer is made at the first byte and touched only as far as it is used.
  std::unique_ptr<std::uint8_t[]> in_;
  std::size_t in_begin_ = 0, in_end_ = 0;
  std::uint32_t window_;          // what the peer may have outstanding
  std::uint32_t held_ = 0;        // came in, not released
  std::uint32_t uncredited_ = 0;  // released, not yet given back as credit
  std::uint32_t received_since_growth_ = 0;
  bool peer_waits_ = false;  // it said it is blocked, and has sent nothing since
  Nanos last_frame_;         // when the last complete frame came
  Nanos frame_began_ = 0;    // when an incomplete one did; 0: none
  Nanos control_refill_;     // until when control_left_ has been filled
  std::uint32_t control_left_;
  std::uint32_t voices_ = 1;  // contexts that speak here: 65,537 of a child that keeps its quota of ids
  std::uint32_t voices_max_ = UINT32_MAX;  // of which so many raise control_rate(): the router says
  std::uint32_t voices_welcome_ = 1;       // so many have brought a second's worth along
  bool on_hold_ = false;                   // the peer said it will be stopped
  bool is_reading_ = true;
  bool is_held_up_ = false;  // see pause()

  // Out: control_, calls_ and streams_ feed staged_, which feeds the kernel.
  Buffer staged_;
  std::size_t staged_at_ = 0;  // written so far
  Buffer control_;             // encoded control frames
  // Memory of the last large frame that waited, for the next: asked of the kernel for each, as musl does, it
  // costs more than the copy.
  Buffer spare_;
  // How much of that is ours, answers to data apart, and how much came in on which other link.
  std::uint32_t control_of_ours_ = 0, answers_ = 0;
  Table<std::uint32_t, std::uint32_t> control_of_origin_;
  FrameScheduler calls_, streams_;  // data that may not leave yet; streams 0 and 1, and all others
  std::int64_t calls_ahead_ = 0;    // bytes of calls that left since both wait, less those of streams
  std::uint64_t credit_;            // data bytes the peer allows
  bool blocked_told_ = false;       // since the last credit
  bool echo_pending_ = false;
  bool flush_posted_ = false;
  bool is_full_ = false;           // the kernel takes no more
  bool waiting_for_room_ = false;  // a watch will tell when it does

  Nanos next_check_ = 0;
  Nanos ping_sent_ = 0;  // 0: none on its way
  Nanos round_trip_ = 0;
};

}  // namespace banyan
