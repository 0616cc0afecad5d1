// Goal: while a leaf three levels down attacks whoever it can reach, both hops above it and the leaf beside
// it are called, and are sent and send back far more than a window holds, as if nothing was. Method: a root
// in this process and real agents, root > hop > hop > hostile and honest; the hostile one is taken over and
// attacks in each round of the root's loop, until all that the others were asked has been answered.

#include <catch2/catch.hpp>
#include <functional>
#include <list>
#include <memory>
#include <optional>

#include "core/info.h"
#include "core/text.h"
#include "parent/command.h"
#include "tests/support/impostor.h"
#include "tests/support/root.h"

using namespace banyan;
using namespace banyan::test;

namespace {

constexpr std::size_t kBytes = 200'000;  // three first windows, each way
constexpr int kCalls = 200;              // one after the other, to each
constexpr Handle kNothingThere = 5'000;

// Takes what it is sent as log records.
struct Logger : Root {
  Logger() {
    router.add_handler(kLog, Access::anyone(), [](Incoming&) {});
  }
};

// What one honest context is asked for: calls, and a command that gives back what it is given.
struct Exchange {
  Root& root;
  const ContextId whom;
  int answers = 0, failures = 0;
  std::size_t sent = 0, received = 0;
  std::optional<int> code;
  std::string error;
  std::unique_ptr<Command> command;

  Exchange(Root& its_root, ContextId context) : root(its_root), whom(context) {
    ExecRequest request;
    request.argv = {"cat"};
    request.has_stdin = true;
    Command::Callbacks callbacks;
    callbacks.on_output = [this](bool, Bytes bytes, Charge) { received += bytes.size(); };
    callbacks.on_input_room = [this] { feed(); };
    callbacks.on_done = [this](Result<ExecOutcome> result) {
      code = result ? result->code : -1;
      if (!result) error = result.error().text;
    };
    command = std::make_unique<Command>(root.router, whom, std::move(request), std::move(callbacks));
    call();
  }
  void call() {
    root.router.call(whom, kInfo, {}, [this](const Reply& reply) {
      failures += reply.dead != nullptr;
      if (++answers < kCalls) call();
    });
  }
  void feed() {
    while (sent < kBytes) {
      const std::size_t room = std::min(command->input_room(), kBytes - sent);
      if (room == 0) return;
      command->write_input(Buffer(room, 'x'));
      sent += room;
      if (sent == kBytes) command->finish_input();
    }
  }
  bool is_over() const { return code.has_value() && answers == kCalls; }
};

struct Scene {
  Logger root;
  const Child outer = root.child(0), inner = root.child(outer.id);
  const Child hostile = root.child(inner.id), honest = root.child(inner.id);
  Impostor us{pid_t(hostile.hello.pid), hostile.id};

  // One frame of the attack, the n-th.
  using Frames = std::function<void(Scene& scene, int n, Buffer& out)>;

  void run(const char* what, bool is_cut_off, const Frames& frames) {
    CAPTURE(what);
    std::list<Exchange> exchanges;
    for (const ContextId whom : {outer.id, inner.id, honest.id}) exchanges.emplace_back(root, whom);
    int n = 0;
    const bool all_done = run_until(
        root.loop,
        [&] {
          bool over = true;
          for (const Exchange& exchange : exchanges) over = over && exchange.is_over();
          Buffer out;
          for (int i = 0; i < 200; ++i) frames(*this, n + i, out);
          us.listen(0);
          // Never waits: whom it would wait for runs in this thread.
          if (!is_cut_off && !us.may_write(out.size())) return over;
          us.write(out);
          n += 200;
          return over;
        },
        60 * kSecond);

    for (const Exchange& exchange : exchanges) {
      CAPTURE(exchange.whom, exchange.sent, exchange.error);
      CHECK(exchange.answers == kCalls);
      CHECK(exchange.failures == 0);
      CHECK(exchange.received == kBytes);
      CHECK(exchange.code == 0);
    }
    CHECK(all_done);
    CHECK(n > 0);
    CHECK(run_until(root.loop, [&] { return root.told.lost == (is_cut_off ? 1 : 0); }));
    CHECK(root.router.way_to(outer.id));
    CHECK(root.router.way_to(inner.id));
    CHECK(root.router.way_to(honest.id));
  }
};

void append(Buffer& to, const Buffer& bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

}  // namespace

TEST_CASE("a leaf that floods leaves both hops above it and the leaf beside it all they need") {
  Scene().run("to nobody", false, [](Scene& scene, int n, Buffer& out) {
    append(out, frame(scene.us.data(4'000'000'000u - ContextId(n), 7, 1'000'000)));
  });
  Scene().run("to all it may not speak to", false, [](Scene& scene, int n, Buffer& out) {
    const ContextId whom[] = {scene.outer.id, scene.inner.id, scene.honest.id};
    append(out, frame(scene.us.data(whom[n % 3], n % 2 == 0 ? kExec : kNothingThere, 1'000'000)));
  });
  Scene().run("large messages to the root", false, [](Scene& scene, int n, Buffer& out) {
    if (n % 200 < 10) append(out, frame(scene.us.data(0, kLog), Buffer(20'000)));
  });
  Scene().run("calls and their cancels", false, [](Scene& scene, int n, Buffer& out) {
    const Handle call = 1'000'000 + Handle(n / 2);
    append(out, n % 2 == 0 ? frame(scene.us.data(0, kLog, call))
                           : frame(scene.us.data(0, kCancel, call + 1'000'000'000), numbers({call})));
  });
}

TEST_CASE("a leaf that opens streams and long messages without end leaves those above and beside it theirs") {
  Scene().run("streams", false, [](Scene& scene, int n, Buffer& out) {
    Header header = scene.us.data(0, kLog, 1'000'000);
    header.stream = kFirstFreeStream + StreamId(n);
    append(out, frame(header, Buffer(1)));
  });
  Scene().run("long messages that do not go on", false, [](Scene& scene, int n, Buffer& out) {
    Header header = scene.us.data(0, kLog);
    header.flags = kFirst;
    header.stream = kFirstFreeStream + StreamId(n);
    if (n >= 50'000) return;  // a few more, and its link would be closed for that
    Buffer payload(1'000);
    store_le<std::uint64_t>(payload.data(), kMessageMax);
    append(out, frame(header, payload));
  });
}

TEST_CASE("a leaf that breaks a rule three levels down loses its own link, and nobody else notices") {
  Scene().run("another's name", true, [](Scene& scene, int n, Buffer& out) {
    Header header = scene.us.data(0, kLog);
    if (n == 199) header.source = scene.honest.id;
    append(out, frame(header, Buffer(1)));
  });
  Scene().run("control beyond its rate", true, [](Scene& scene, int, Buffer& out) {
    for (int i = 0; i < 100; ++i) append(out, frame(scene.us.control(0, kCancel), numbers({77})));
  });
  Scene().run("more than its window", true, [](Scene& scene, int, Buffer& out) {
    append(out, frame(scene.us.data(0, kNothingThere), Buffer(60'000)));
  });
  Scene().run("the route of the leaf beside it", true, [](Scene& scene, int, Buffer& out) {
    const Buffer route = Packer().array(3).number(scene.honest.id).number(scene.us.id()).text("x").take();
    append(out, frame(scene.us.control(scene.inner.id, kAddRoute), route));
  });
}
