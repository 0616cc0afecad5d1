// Goal: a context runs commands for those it should, within its limits, and believes nothing it is sent.
// Method: two routers joined by a socketpair; requests, cancels and streams made by hand.
#include "core/exec.h"

#include <catch2/catch.hpp>
#include <memory>
#include <optional>
#include <string>

#include "core/msgpack.h"
#include "core/stream.h"
#include "tests/support/processes.h"
#include "tests/support/tree.h"

namespace banyan {
namespace {

// A caller without parent/command.h in between.
struct Tree {
  EpollLoop loop;
  Router root{loop, test::config_of(0)};
  Router agent{loop, test::config_of(1, {0})};
  ExecService exec;
  std::string out;
  bool out_ended = false;
  std::optional<ExecStarted> started;
  std::optional<ExecOutcome> outcome;
  std::optional<Dead> dead;
  Handle events = 0, out_handle = 0;

  explicit Tree(std::size_t commands_max = kExecMax) : exec(loop, agent, commands_max) {
    test::join(loop, root, agent);
    events = root.add_handler(Access::only(1), [this](Incoming& message) {
      auto decoded = ExecStarted::decode(message.payload);
      REQUIRE(decoded);
      started = *decoded;
    });
    out_handle = root.add_handler(Access::only(1), [this](Incoming& message) {
      out.append(as_text(message.payload));
      out_ended = out_ended || message.payload.empty();
    });
  }
  ~Tree() {
    CHECK(until([this] { return exec.running() == 0; }));
  }

  ExecRequest request(std::string line) const {
    ExecRequest made;
    made.argv = {std::move(line)};
    made.shell = true;
    made.events = events;
    made.out = out_handle;
    return made;
  }
  Router::CallId call(Buffer payload) {
    return root.call(1, kExec, std::move(payload), [this](const Reply& reply) {
      if (reply.dead != nullptr) {
        dead = *reply.dead;
        return;
      }
      auto decoded = ExecOutcome::decode(reply.payload);
      REQUIRE(decoded);
      outcome = *decoded;
    });
  }
  bool until(const std::function<bool()>& done) { return test::run_until(loop, done); }
};

TEST_CASE("messages of exec survive the wire, and cut short they are refused") {
  ExecRequest request;
  request.argv = {"a", "", std::string("\xff\n", 2)};
  request.shell = true;
  request.directory = "/somewhere";
  request.environment = {{"NAME", "value=1"}, {"EMPTY", ""}};
  request.has_stdin = true;
  request.timeout = 90 * kSecond;
  request.events = 1;
  request.out = UINT64_MAX;
  request.err = 3;
  const Buffer bytes = request.encode();
  const auto again = ExecRequest::decode(bytes);
  REQUIRE(again);
  CHECK(again->argv == request.argv);
  CHECK(again->shell);
  CHECK(again->directory == request.directory);
  CHECK(again->environment == request.environment);
  CHECK(again->has_stdin);
  CHECK(again->timeout == request.timeout);
  CHECK(again->out == UINT64_MAX);
  for (std::size_t length = 0; length < bytes.size(); ++length)
    CHECK_FALSE(ExecRequest::decode(Bytes(bytes).first(length)));

  ExecOutcome outcome;
  outcome.kind = ExecOutcome::Kind::kNotExecutable;
  outcome.code = 13;
  outcome.ended = ExecOutcome::Ended::kEnding;
  outcome.text = "why";
  const Buffer packed = outcome.encode();
  const auto unpacked = ExecOutcome::decode(packed);
  REQUIRE(unpacked);
  CHECK(unpacked->kind == outcome.kind);
  CHECK(unpacked->code == 13);
  CHECK(unpacked->ended == outcome.ended);
  CHECK(unpacked->text == "why");
  for (std::size_t length = 0; length < packed.size(); ++length)
    CHECK_FALSE(ExecOutcome::decode(Bytes(packed).first(length)));
}

TEST_CASE("a request that cannot be meant is refused before anything runs") {
  Tree tree;
  ExecRequest none = tree.request(""), nul = tree.request("true"), name = tree.request("true"),
              folder = tree.request("true");
  none.argv.clear();
  nul.argv.push_back(std::string("a\0b", 3));
  name.environment = {{"A=B", "c"}};
  folder.directory = std::string("/\0", 2);
  for (const Buffer& payload :
       {none.encode(), nul.encode(), name.encode(), folder.encode(), Buffer(), Buffer(100, 0xff)}) {
    tree.dead.reset();
    tree.call(payload);
    REQUIRE(tree.until([&] { return tree.dead.has_value(); }));
    CHECK(tree.dead->reason == DeadReason::kRefused);
    CHECK_FALSE(tree.dead->text.empty());
  }
  CHECK(tree.exec.running() == 0);
  CHECK_FALSE(tree.outcome);
}

TEST_CASE("a context runs nothing for those beneath it") {
  EpollLoop loop;
  Router root(loop, test::config_of(0)), agent(loop, test::config_of(1, {0}));
  test::join(loop, root, agent);
  ExecService exec(loop, root);
  ExecRequest request;
  request.argv = {"true"};
  std::optional<DeadReason> reason;
  agent.call(0, kExec, request.encode(), [&](const Reply& reply) {
    REQUIRE(reply.dead != nullptr);
    reason = reply.dead->reason;
  });
  REQUIRE(test::run_until(loop, [&] { return reason.has_value(); }));
  CHECK(*reason == DeadReason::kRefused);
}

TEST_CASE("more commands than the limit are answered busy, and an ended one makes room") {
  Tree tree(1);
  const Router::CallId first = tree.call(tree.request("sleep 1000").encode());
  REQUIRE(tree.until([&] { return tree.started.has_value(); }));
  tree.call(tree.request("true").encode());
  REQUIRE(tree.until([&] { return tree.dead.has_value(); }));
  CHECK(tree.dead->reason == DeadReason::kBusy);

  tree.root.cancel(first);
  REQUIRE(tree.until([&] { return tree.outcome.has_value() && tree.exec.running() == 0; }));
  tree.outcome.reset();
  tree.call(tree.request("exit 4").encode());
  REQUIRE(tree.until([&] { return tree.outcome.has_value(); }));
  CHECK(tree.outcome->code == 4);
}

TEST_CASE("only its caller can cancel a command") {
  Tree tree;
  const Router::CallId call = tree.call(tree.request("sleep 1000").encode());
  REQUIRE(tree.until([&] { return tree.started.has_value(); }));
  const Handle foreign = call + 1;
  tree.root.send_control(1, kCancel, Packer().array(1).number(foreign).take());
  // Who ends a command first is named in its outcome.
  bool down = false;
  tree.exec.shut_down([&] { down = true; });
  REQUIRE(tree.until([&] { return down && tree.outcome.has_value(); }));
  CHECK(tree.outcome->ended == ExecOutcome::Ended::kEnding);
}

TEST_CASE("a command whose output nobody reads any more gets SIGPIPE, as in a pipeline") {
  Tree tree;
  tree.call(tree.request("yes; exit 1").encode());
  REQUIRE(tree.until([&] { return tree.out.size() > 100'000; }));
  tree.root.remove_handler(tree.out_handle);
  REQUIRE(tree.until([&] { return tree.outcome.has_value(); }));
  CHECK(tree.outcome->ended == ExecOutcome::Ended::kItself);
}

TEST_CASE("an output nobody wants goes to /dev/null") {
  Tree tree;
  tree.call(tree.request("echo no >&2; ls -l /proc/self/fd/2 | grep -c /dev/null").encode());
  REQUIRE(tree.until([&] { return tree.outcome.has_value() && tree.out_ended; }));
  CHECK(tree.out == "1\n");
}

TEST_CASE("standard input that is cut off ends the command, and does not pass for the whole") {
  Tree tree;
  ExecRequest request = tree.request("cat; echo complete");
  request.has_stdin = true;
  tree.call(request.encode());
  REQUIRE(tree.until([&] { return tree.started.has_value(); }));
  REQUIRE(tree.started->input != 0);
  {
    StreamSender input(tree.root, 1, tree.started->input);
    input.send(as_bytes("half"));
    REQUIRE(tree.until([&] { return tree.out == "half"; }));
  }
  REQUIRE(tree.until([&] { return tree.outcome.has_value() && tree.out_ended; }));
  CHECK(tree.out == "half");
  CHECK(tree.outcome->ended == ExecOutcome::Ended::kCancelled);
}

TEST_CASE("a command that keeps a thousand orphans busy still ends by itself, and they are reaped") {
  Tree tree;
  tree.call(tree.request("i=0; while [ $i -lt 1000 ]; do (true &); i=$((i+1)); done; exit 6").encode());
  REQUIRE(tree.until([&] { return tree.outcome.has_value(); }));
  CHECK(tree.outcome->code == 6);
}

}  // namespace
}  // namespace banyan
