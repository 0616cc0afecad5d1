// One child of twenty gives all it can: what the others feel of it, and what the root holds because of it.

#include <fcntl.h>
#include <unistd.h>

#include <list>
#include <memory>

#include "bench/groups.h"
#include "bench/tree_path.h"
#include "core/info.h"
#include "core/spawn.h"
#include "parent/command.h"
#include "transports/local.h"

namespace banyan::bench {

namespace {

constexpr std::size_t kChildren = 20;
constexpr std::size_t kFloodBytes = std::size_t(500) << 20;
constexpr std::size_t kManyCommands = 64;
constexpr int kCalls = 10'000;  // to the nineteen others, each time
constexpr int kRounds = 3;
constexpr double kMib = 1 << 20;
constexpr Budget kLatency{5, 2};
constexpr Budget kGrowth{4 + 2, 0};  // MiB: four, and two for the link that floods
constexpr Handle kAnswered = 2'000;  // of the root, for the one that calls
constexpr int kFlooderOutstanding = 10'000;
constexpr std::size_t kPayloadBytes = 64;
constexpr int kOurProcessor = 0, kTheirProcessor = 1;

double own_mib(const char* field) {
  return kib_in("/proc/self/status", field) / 1024;
}

// How much more this process held at most than when this was made.
class Growth {
 public:
  Growth() {
    const Fd file(::open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC));
    if (!file || ::write(file.get(), "5", 1) != 1) die("the peak of our memory cannot be set back");
    before_ = own_mib("VmRSS");
  }
  double mib() const { return own_mib("VmHWM") - before_; }

 private:
  double before_ = 0;
};

class Crowd {
 public:
  Crowd() {
    for (std::size_t i = 0; i < kChildren; ++i)
      root_.runner().start(
          local("one of twenty"),
          [this](const Result<Child>& child) {
            if (!child) die(child.error().text);
            children_.push_back(child->id);
            pin(pid_t(child->hello.pid), kTheirProcessor);
            if (children_.size() == kChildren) root_.loop().stop();
          },
          [](ContextId, const Error& why) { die("a child was lost: " + why.text); });
    root_.loop().run();
    pin(kOurselves, kOurProcessor);
    root_.router().add_handler(kAnswered, Access::anyone(), [this](Incoming& message) {
      ++answered_;
      root_.router().reply(message.header, Buffer(message.payload.begin(), message.payload.end()));
    });
  }
  ~Crowd() {
    root_.end_all();
    pin(kOurselves, kAnywhere);
  }

  // One after another, each to the next of those that are not the flooder, while there are any left and
  // `goes_on`.
  void call_others(
      int count, Samples& samples, const std::function<bool()>& goes_on = [] { return true; }) {
    const Buffer payload = EndRequest{UINT32_MAX, kSecond}.encode();
    std::size_t next_child = 1;
    double began = 0;
    std::function<void()> next = [&] {
      began = now_us();
      next_child = next_child % (kChildren - 1) + 1;
      root_.router().call(children_[next_child], kEndChild, payload, [&](const Reply& reply) {
        if (reply.dead != nullptr) die("a call was answered dead: " + reply.dead->text);
        samples.add(now_us() - began);
        if (--count > 0 && goes_on()) return next();
        root_.loop().stop();
      });
    };
    next();
    root_.loop().run();
  }

  // Commands in the first child that write so much together. `keep`: nobody reads what they write.
  void start_commands(std::size_t count, bool keep) {
    taken_ = 0;
    for (std::size_t i = 0; i < count; ++i) {
      ExecRequest writer;
      writer.argv = {beside_us(kWriter), format("%zu", kFloodBytes / count)};
      writer.has_stdin = true;
      Command::Callbacks callbacks;
      commands_.emplace_back();
      std::unique_ptr<Command>& command = commands_.back();
      callbacks.on_input_room = [&command] {
        const std::uint8_t go = 0;
        command->write_input({&go, 1});
      };
      callbacks.on_output = [this, keep](bool, Bytes piece, Charge charge) {
        taken_ += piece.size();
        if (keep) kept_.push_back({Buffer(piece.begin(), piece.end()), std::move(charge)});
      };
      callbacks.on_done = [](const Result<ExecOutcome>&) {};
      command =
          std::make_unique<Command>(root_.router(), children_[0], std::move(writer), std::move(callbacks));
    }
  }
  std::size_t taken() const { return taken_; }
  // Ends them, and waits until the child has no more of them.
  void end_commands() {
    kept_.clear();
    commands_.clear();
    for (bool runs = true; runs;) {
      root_.router().call(children_[0], kInfo, {}, [&](const Reply& reply) {
        const Result<ContextInfo> info = ContextInfo::decode(reply.payload);
        runs = info && info->running > 0;
        root_.loop().stop();
      });
      root_.loop().run();
    }
  }

  // A child of another make: a router and nothing else, that calls us, and calls again for each answer.
  class Caller;
  std::uint64_t answered() const { return answered_; }
  Root& root() { return root_; }

 private:
  Root root_;
  std::vector<ContextId> children_;
  std::list<std::unique_ptr<Command>> commands_;
  std::list<std::pair<Buffer, Charge>> kept_;  // what is not read yet
  std::size_t taken_ = 0;
  std::uint64_t answered_ = 0;
};

class Crowd::Caller {
 public:
  explicit Caller(Crowd& crowd) : crowd_(crowd) {
    Result<FdPair> ends = make_socketpair();
    if (!ends) die("no socketpair");
    crowd.root().ids().take(
        1, [this](const IdRange* ids, const Dead&) { id_ = ids != nullptr ? ids->first : 0; });
    if (id_ == 0) die("no id");
    process_.start([&] {
      // What it has of our links would keep them open.
      if (::dup2(ends->second.get(), 3) != 3) ::_exit(1);
      close_from(4);
      call_without_end(id_, 3);
    });
    Root& root = crowd.root();
    const int fd = ends->first.release();
    root.router().add_child(std::make_unique<Link>(root.loop(), LinkFds{fd, fd}, nobody(), LinkLimits{},
                                                   root.router().window_budget(), false),
                            id_, [this](const Error&) { is_down_ = true; });
    root.routes().announce(id_, "one that calls");
    pin(process_.pid(0), kTheirProcessor);
  }
  ~Caller() {
    crowd_.root().router().drop_child(id_, Error{ErrorClass::kCancelled, Phase::kLink, "enough", {}});
    while (!is_down_) crowd_.root().loop().run_once(kSecond);
  }

 private:
  // Links are made with any owner: the router takes its place.
  static Link::Owner& nobody() {
    struct Nobody final : Link::Owner {
      void on_frame(Link&, const Header&, Bytes) override {}
      void on_sent(Link&, std::uint32_t, const Header&) override {}
      void on_down(Link&, const Error&, FrameQueue) override {}
    };
    static Nobody nobody;
    return nobody;
  }

  static void call_without_end(ContextId id, int up) {
    EpollLoop loop;
    Router router(loop,
                  RouterConfig{.id = id, .sideways = Sideways::kVertical, .ancestors = {0}, .inbox = {}});
    router.set_parent(
        std::make_unique<Link>(loop, LinkFds{up, up}, nobody(), LinkLimits{}, router.window_budget(), true),
        [&](const Error&) { loop.stop(); });
    const Buffer payload(kPayloadBytes);
    std::function<void()> call = [&] { router.call(0, kAnswered, payload, [&](const Reply&) { call(); }); };
    for (int i = 0; i < kFlooderOutstanding; ++i) call();
    loop.run();
  }

  Crowd& crowd_;
  Children process_;
  ContextId id_ = 0;
  bool is_down_ = false;
};

// What others feel, and what we hold.
struct Felt {
  Samples calls;
  double growth_mib = 0;
  Samples rate;  // of what the flood brought
  void note(const Growth& growth) { growth_mib = std::max(growth_mib, growth.mib()); }
};

void flood_unread(Crowd& crowd, std::size_t commands, Felt& felt) {
  const Growth growth;
  crowd.start_commands(commands, true);
  crowd.call_others(kCalls, felt.calls);
  felt.note(growth);
  felt.rate.add(double(crowd.taken()));
  crowd.end_commands();
}

void flood_read(Crowd& crowd, Felt& felt) {
  const Growth growth;
  const double began = now_us();
  crowd.start_commands(1, false);
  crowd.call_others(INT32_MAX, felt.calls, [&] { return crowd.taken() < kFloodBytes; });
  felt.note(growth);
  felt.rate.add(double(crowd.taken()) / (now_us() - began));
  crowd.end_commands();
}

void flood_calls(Crowd& crowd, Felt& felt) {
  const Growth growth;
  const Crowd::Caller caller(crowd);
  const std::uint64_t before = crowd.answered();
  const double began = now_us();
  crowd.call_others(kCalls, felt.calls);
  felt.note(growth);
  felt.rate.add(double(crowd.answered() - before) / (now_us() - began) * 1e6);
}

// The same processors wanted by programs that know nothing of us: what part of it is not ours.
void burn_processors(Crowd& crowd, Felt& felt) {
  Children burners;
  for (const int processor : {kOurProcessor, kTheirProcessor})
    burners.start([processor] {
      close_from(3);
      pin(kOurselves, processor);
      for (volatile unsigned turns = 0;;) turns = turns + 1;
    });
  crowd.call_others(kCalls, felt.calls);
}

}  // namespace

void measure_tree_flood() {
  Table table(
      "A flood by one child of twenty",
      format("The root calls the other nineteen one after another, %d times in each of %d rounds, while one "
             "child gives all it can; the peer is the same without the flood. The root has a processor to "
             "itself, all children share the other one, the flood's source too. Growth is the peak of the "
             "root's resident memory above what it was before, what it was given and does not read included; "
             "the budget is 4 MiB, and 2 MiB for the link that floods.",
             kCalls, kRounds));
  Crowd crowd;
  Felt idle, one, many, read, calls, busy;
  crowd.call_others(kCalls, idle.calls);
  idle = Felt();
  for (int round = 0; round < kRounds; ++round) {
    crowd.call_others(kCalls, idle.calls);
    flood_unread(crowd, 1, one);
    flood_unread(crowd, kManyCommands, many);
    flood_read(crowd, read);
    flood_calls(crowd, calls);
    burn_processors(crowd, busy);
  }
  auto row = [&](const std::string& what, const Felt& felt) {
    table.at_most(what + ": p99 of the others", in_us(felt.calls), in_us(idle.calls),
                  felt.calls.p99() / idle.calls.p99(), kLatency);
    table.within(what + ": the root grows by", format("%.1f MiB", felt.growth_mib), "", felt.growth_mib,
                 "MiB", kGrowth);
  };
  row("500 MiB that nobody reads, one command", one);
  row(format("500 MiB that nobody reads, %zu commands", kManyCommands), many);
  row(format("500 MiB that is read, %.0f MB/s", read.rate.median()), read);
  row(format("%.0f small calls a second", calls.rate.median()), calls);
  table.plain("no flood, but a program that computes on each processor", in_us(busy.calls), in_us(idle.calls),
              busy.calls.p99() / idle.calls.p99());
  table.note(
      format("Of what nobody reads, the root took %.1f MiB of one command and %.1f MiB of %zu, and then the "
             "child had no credit.",
             one.rate.median() / kMib, many.rate.median() / kMib, kManyCommands));
}

}  // namespace banyan::bench
