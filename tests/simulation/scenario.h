// tests/simulation/scenario.h -- one seed: a random tree, its traffic, its faults and its liars, and the
// books that are kept of them.
//
//   Outcome outcome = Scenario(seed).run();
//
// What is broken first ends the run, and is told by its sentence. Everything follows from the seed. The
// parts: scenario.cpp (the plan, faults, the quiet end), scenario_calls.cpp, scenario_streams.cpp,
// hostile_node.cpp (what a liar sends). How to replay one: docs/testing.md.
#pragma once

#include <cstdio>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "core/stream.h"
#include "core/text.h"
#include "tests/simulation/invariants.h"

namespace banyan::simulation {

constexpr Handle kEcho = 500, kSink = 501, kFromAbove = 502;

struct Outcome {
  std::uint64_t seed = 0, trace_hash = 0, events = 0;
  std::size_t nodes = 0, calls = 0, streams = 0, faults = 0, attacks = 0;
  std::optional<Invariant> broken;
  std::string detail;
  // What to print of a failure: the sentence, the detail and the command that replays it.
  std::string report() const;
};

class Scenario {
 public:
  // With `trace`, every step is written there, and every event of the world.
  explicit Scenario(std::uint64_t seed, std::FILE* trace = nullptr);
  ~Scenario();
  Outcome run();

 private:
  friend class HostileNode;

  // What a message of ours begins with. Whoever receives it knows by that who really sent it.
  struct Stamp {
    std::uint64_t number = 0;  // of the call or stream; kForged: of a liar
    std::uint32_t origin = 0;  // index of the node
    std::uint32_t detail = 0;  // the mode of a call; the number of a message within its stream
  };
  static constexpr std::size_t kStampBytes = 16;
  static constexpr std::uint64_t kForged = 0xffffffffff, kSeal = 0x5ea1'0000'0000'0000;
  static Buffer stamped(const Stamp& stamp, std::size_t bytes);
  static std::optional<Stamp> stamp_of(Bytes payload);

  enum class Mode : std::uint8_t { kAtOnce, kLater, kNever, kHolding, kDead, kModes };
  struct Call {
    std::uint64_t number = 0;
    SimNode* caller = nullptr;
    SimNode* callee = nullptr;  // nullptr: nobody has that id
    ContextId id = 0;           // the callee's
    Handle handle = kEcho;
    Mode mode = Mode::kAtOnce;
    std::size_t bytes = 0;
    Router::CallId call = 0;
    bool was_way_known = false;  // by all whom the call passes, when it was made
    bool is_cancelled = false, is_abandoned = false;
    int answers = 0, executions = 0, acknowledgements = 0, acknowledgements_wanted = 0;
    bool is_running = false;
    bool was_lost = false;      // its callee was declared gone
    bool is_said_over = false;  // by the callee: nothing of it is left there
    std::uint64_t reply_number = 0;
    Header header;  // as the callee saw it
  };
  struct Stream {
    std::uint64_t number = 0;
    SimNode* sender = nullptr;
    SimNode* receiver = nullptr;
    std::unique_ptr<StreamSender> out;
    std::uint32_t planned = 0, sent = 0, received = 0;
    bool was_way_known = false;
    bool is_finished = false, is_aborted = false, is_dead = false;  // by the sender; known to it
    bool has_ended = false, was_cut_off = false;                    // at the receiver
  };
  struct StreamKey {
    std::uint32_t receiver;
    ContextId source;
    StreamId stream;
    auto operator<=>(const StreamKey&) const = default;
  };
  using Two = std::pair<std::uint32_t, std::uint32_t>;  // indices of nodes

  // --- the plan ---
  void choose_options();
  void grow_first();
  void act();
  void run_for(Nanos duration);
  void settle();
  void probe();
  void come_to_rest();
  void on_up(SimNode& node);
  void on_link_down(SimNode& child, bool to_parent, const Error& error);

  // --- faults ---
  void fault();
  void introduce();

  // --- calls ---
  Call* call(SimNode& caller, ContextId id, std::size_t bytes, Mode mode, Handle handle = kEcho);
  void call_somebody();
  void on_call(SimNode& node, Incoming& message);
  void on_from_above(SimNode& node, Incoming& message);
  void answer(SimNode& node, Call& call, bool is_dead);
  void on_answer(Call& call, const Reply& reply);
  void cancel(Call& call);
  void cancel_some();
  void cancel_rest();
  void check_death(const Call& call, const Dead& dead);
  void check_all_answered();

  // --- streams ---
  void open_stream();
  void open_stream(SimNode* sender, SimNode* receiver, std::uint32_t planned);
  void crowd();
  void write(Stream& stream);
  void on_message(SimNode& node, Incoming& message);
  void move_some_stream();
  void finish_streams();
  void close_streams();
  void check_streams();

  // --- what is true ---
  bool check_origin(SimNode& node, const Header& header, const Stamp& stamp);
  bool is_allowed(const SimNode& one, const SimNode& other) const;  // by the policy, now or ever
  bool is_path_whole(SimNode& one, SimNode& other) const;
  bool is_path_honest(SimNode& one, SimNode& other) const;
  bool is_way_known(SimNode& one, SimNode& other) const;
  SimNode* somebody(bool may_lie = false);

  bool one_in(std::uint64_t n) { return world().one_in(n); }
  std::uint64_t below(std::uint64_t end) { return world().below(end); }
  SimWorld& world() { return tree_->world(); }
  template <class... Parts>
  void note(const Parts&... parts) {
    if (trace_ != nullptr) write_note(cat(parts...));
  }
  void write_note(const std::string& line);
  void broken(Invariant invariant, std::string detail);
  bool is_over() const { return outcome_.broken.has_value(); }

  Outcome outcome_;
  std::FILE* trace_;
  SimTreeOptions options_;
  std::size_t size_ = 0, steps_ = 0;
  bool with_faults_ = false, with_liars_ = false, has_small_limits_ = false, is_crowded_ = false,
       readers_are_prompt_ = false;
  bool is_resting_ = false;  // no more faults
  bool was_cut_silently_ = false;
  std::unique_ptr<SimTree> tree_;
  std::unique_ptr<StateChecker> checker_;
  std::vector<std::unique_ptr<Call>> calls_;
  std::vector<std::unique_ptr<Stream>> streams_;
  std::map<StreamKey, Stream*> stream_of_;
  std::map<Two, std::uint64_t> last_call_, last_reply_sent_, last_reply_;
  std::set<Two> introduced_;
  std::set<Two> surely_introduced_;  // both were known where it was said
  std::deque<Charge> kept_;
  std::vector<SimNode*> stopped_;
  std::vector<std::unique_ptr<class HostileNode>> liars_;
};

}  // namespace banyan::simulation
