// Goal: what a context answers, puts out and reports is heard by whoever asked it, although it speaks with
// another's authority, as the client of a socket does; and nobody else is heard in its place, whoever's
// authority he has. Method: routers of one process, joined by real sockets; two of them are clients of a
// context that is no root.

#include <catch2/catch.hpp>
#include <memory>
#include <optional>
#include <string>

#include "core/msgpack.h"
#include "core/text.h"
#include "parent/back_channel.h"
#include "parent/command.h"
#include "parent/remote_runner.h"
#include "parent/route_monitor.h"
#include "tests/support/tree.h"

using namespace banyan;
using namespace banyan::test;

namespace {

constexpr ContextId kRoot = 0, kAbove = 1, kDoor = 20, kClient = 30, kOther = 40, kBeneath = 50, kChild = 31;

struct Context {
  Router router;
  IdSource ids;
  RouteMonitor routes;
  std::optional<ExecService> exec;

  Context(EpollLoop& loop, RouterConfig config, IdRange range)
      : router(loop, std::move(config)), ids(router, range), routes(router, ids) {
    exec.emplace(loop, router);
  }
  void have(EpollLoop& loop, Context& child, IdRange granted, bool is_client) {
    join(loop, router, child.router);
    if (is_client) router.lend_authority(child.router.id());
    router.grant(child.router.id(), granted);
    routes.announce(child.router.id(), "child");
  }
};

// root > above > door > client, other (clients of its socket), beneath
struct Tree {
  EpollLoop loop;
  Context root{loop, config_of(kRoot), {100, 1'000}};
  Context above{loop, config_of(kAbove, {kRoot}), {2, 98}};
  Context door{loop, config_of(kDoor, {kAbove, kRoot}), {21, 70}};
  Context client{loop, config_of(kClient, {kDoor, kAbove, kRoot}), {31, 4}};
  Context other{loop, config_of(kOther, {kDoor, kAbove, kRoot}), {41, 4}};
  Context beneath{loop, config_of(kBeneath, {kDoor, kAbove, kRoot}), {51, 4}};
  Context* const all[6] = {&root, &above, &door, &client, &other, &beneath};

  Tree() {
    root.have(loop, above, {2, 98}, false);
    above.have(loop, door, {21, 70}, false);
    door.have(loop, client, {31, 9}, true);
    door.have(loop, other, {41, 9}, true);
    door.have(loop, beneath, {51, 9}, false);
    REQUIRE(run_until(loop, [this] { return root.router.routes() == 5; }));
  }
  ~Tree() {
    CHECK(run_until(loop, [this] {
      bool quiet = true;
      for (Context* context : all) quiet = quiet && (!context->exec || context->exec->running() == 0);
      return quiet;
    }));
  }
};

// A command that gives back what it is given, and more than a window of it.
struct Copy {
  static constexpr std::size_t kBytes = 300'000;
  std::size_t sent = 0, received = 0;
  std::string complaint;
  std::optional<Result<ExecOutcome>> outcome;
  std::unique_ptr<Command> command;

  Copy(Router& from, ContextId where) {
    ExecRequest request;
    request.argv = {"sh", "-c", "cat; echo done >&2; exit 3"};
    request.has_stdin = true;
    Command::Callbacks callbacks;
    callbacks.on_output = [this](bool is_err, Bytes bytes, Charge) {
      if (is_err) complaint += as_text(bytes);
      if (!is_err) received += bytes.size();
    };
    callbacks.on_input_room = [this] { feed(); };
    callbacks.on_done = [this](Result<ExecOutcome> result) { outcome = std::move(result); };
    command = std::make_unique<Command>(from, where, std::move(request), std::move(callbacks));
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
};

}  // namespace

TEST_CASE(
    "a command in a client of a socket, and one that a client runs, ends with its output and its outcome") {
  Tree tree;
  struct {
    Context& from;
    Context& where;
    bool may;
  } const ways[] = {
      {tree.root, tree.client, true},  {tree.above, tree.client, true},   {tree.door, tree.client, true},
      {tree.other, tree.client, true}, {tree.client, tree.beneath, true}, {tree.client, tree.door, true},
      {tree.root, tree.door, true},    {tree.client, tree.above, false},  {tree.client, tree.root, false},
      {tree.root, tree.root, true},    {tree.beneath, tree.door, false},
  };
  for (const auto& way : ways) {
    CAPTURE(way.from.router.id(), way.where.router.id());
    Copy copy(way.from.router, way.where.router.id());

    REQUIRE(run_until(tree.loop, [&] { return copy.outcome.has_value(); }));

    CHECK(bool(*copy.outcome) == way.may);
    if (!way.may) {
      CHECK(copy.outcome->error().error_class == ErrorClass::kRefused);
      continue;
    }
    CHECK((*copy.outcome)->code == 3);
    CHECK(copy.received == Copy::kBytes);
    CHECK(copy.complaint == "done\n");
  }
}

TEST_CASE("who had a client of a socket start a child hears of its end") {
  Tree tree;
  Handle lost = 0;
  std::optional<Header> call;
  tree.client.router.add_handler(kStartChild, Access::ancestors(), [&](Incoming& message) {
    const Result<StartRequest> request = StartRequest::decode(message.payload, nullptr);
    REQUIRE(bool(request));
    lost = request->lost;
    call = message.header;
  });
  RemoteRunner runner(tree.root.router);
  std::optional<ContextId> up;
  std::optional<Error> why;
  runner.start(
      kClient, Recipe(),
      [&](const Result<Child>& child) {
        INFO((child ? std::string() : child.error().text));
        REQUIRE(bool(child));
        up = child->id;
      },
      [&](ContextId, const Error& error) { why = error; });
  REQUIRE(run_until(tree.loop, [&] { return call.has_value(); }));
  Router its_child(tree.loop, config_of(kChild, {kClient, kDoor, kAbove, kRoot}));
  join(tree.loop, tree.client.router, its_child);
  tree.client.routes.announce(kChild, "child");
  Child child;
  child.id = kChild;
  tree.client.router.reply(*call, StartReply::encode(child));
  REQUIRE(run_until(tree.loop, [&] { return up.has_value(); }));

  // Neither from another client of the same socket, nor from a neighbour.
  const Buffer notice = LossNotice::encode(Error{ErrorClass::kDead, Phase::kLink, "killed", {}});
  for (Context* stranger : {&tree.other, &tree.beneath, &tree.door}) {
    stranger->router.send(kRoot, lost, notice, kReplyStream);
    std::optional<DeadReason> dead;
    stranger->router.call(kRoot, lost, notice, [&](const Reply& reply) {
      if (reply.dead != nullptr) dead = reply.dead->reason;
    });
    REQUIRE(run_until(tree.loop, [&] { return dead.has_value(); }));
    CHECK(dead == DeadReason::kRefused);
  }
  CHECK_FALSE(why);
  tree.client.router.send(kRoot, lost, notice, kReplyStream);

  REQUIRE(run_until(tree.loop, [&] { return why.has_value(); }));
  CHECK(why->text == "killed");
  CHECK(runner.count() == 0);
  tree.client.router.drop_child(kChild, Error{ErrorClass::kLost, Phase::kLink, "over", {}});
}

TEST_CASE("a client of a socket is not taken for the context whose authority it has") {
  Tree tree;
  tree.door.exec.reset();
  std::optional<ExecRequest> request;
  tree.door.router.add_handler(kExec, Access::ancestors(), [&](Incoming& message) {
    Result<ExecRequest> decoded = ExecRequest::decode(message.payload);
    REQUIRE(bool(decoded));
    request = std::move(*decoded);
  });
  std::string out;
  bool started = false, done = false;
  Command::Callbacks callbacks;
  callbacks.on_started = [&](const ExecStarted&) { started = true; };
  callbacks.on_output = [&](bool, Bytes bytes, Charge) { out += as_text(bytes); };
  callbacks.on_done = [&](Result<ExecOutcome>) { done = true; };
  ExecRequest asked;
  asked.argv = {"true"};
  const Command command(tree.root.router, kDoor, std::move(asked), std::move(callbacks));
  REQUIRE(run_until(tree.loop, [&] { return request.has_value(); }));

  // The client knows the handles, and has the authority of who was asked.
  const std::uint64_t refused = tree.root.router.counters().refused;
  for (const Handle handle : {request->events, request->out, request->err})
    tree.client.router.send(kRoot, handle, Buffer{'h', 'i'});
  REQUIRE(run_until(tree.loop, [&] { return tree.root.router.counters().refused == refused + 3; }));
  CHECK_FALSE(started);
  CHECK(out.empty());
  tree.door.router.send(kRoot, request->out, Buffer{'o', 'k'});

  CHECK(run_until(tree.loop, [&] { return out == "ok"; }));
  CHECK_FALSE(done);
}

TEST_CASE("the input of a command is taken from who ran it, and from nobody else of the same authority") {
  Tree tree;
  std::string out;
  std::optional<Result<ExecOutcome>> outcome;
  std::optional<Handle> input;
  ExecRequest request;
  request.argv = {"cat"};
  request.has_stdin = true;
  Command::Callbacks callbacks;
  callbacks.on_started = [&](const ExecStarted& started) { input = started.input; };
  callbacks.on_output = [&](bool, Bytes bytes, Charge) { out += as_text(bytes); };
  callbacks.on_done = [&](Result<ExecOutcome> result) { outcome = std::move(result); };
  Command command(tree.client.router, kBeneath, std::move(request), std::move(callbacks));
  REQUIRE(run_until(tree.loop, [&] { return command.input_room() > 0; }));

  for (Context* stranger : {&tree.other, &tree.door, &tree.root}) {
    std::optional<DeadReason> dead;
    stranger->router.call(kBeneath, *input, Buffer{'n', 'o'}, [&](const Reply& reply) {
      if (reply.dead != nullptr) dead = reply.dead->reason;
    });
    REQUIRE(run_until(tree.loop, [&] { return dead.has_value(); }));
    CHECK(dead == DeadReason::kRefused);
  }
  command.write_input(Buffer{'y', 'e', 's'});
  command.finish_input();

  REQUIRE(run_until(tree.loop, [&] { return outcome.has_value(); }));
  CHECK(out == "yes");
}

namespace {

// A start that the root has ordered of the client, and whoever answers what it asks.
struct AskingStart : Tree {
  struct Yes final : Answerer {
    std::size_t questions = 0;
    void ask(std::uint32_t, Bytes, OnAnswer on_answer) override {
      ++questions;
      on_answer(Buffer{'y'});
    }
  };
  const std::shared_ptr<Yes> answerer = std::make_shared<Yes>();
  Handle asked = 0;
  std::optional<Header> call;
  bool is_up = false;
  RemoteRunner runner{root.router};

  AskingStart() {
    client.router.add_handler(kStartChild, Access::ancestors(), [this](Incoming& message) {
      const Result<StartRequest> request = StartRequest::decode(message.payload, &Runner::kTransports);
      REQUIRE(bool(request));
      asked = request->recipe.extra().answered_at;
      call = message.header;
    });
    Recipe recipe;
    recipe.boot = Recipe::Boot::kStage0;
    recipe.argv = {"sh"};
    recipe.extra().answerer = answerer;
    runner.start(
        kClient, std::move(recipe), [this](const Result<Child>& child) { is_up = bool(child); },
        [](ContextId, const Error&) {});
    REQUIRE(run_until(loop, [this] { return call.has_value(); }));
  }
  bool is_answered(Context& whom, std::size_t bytes = 1) {
    std::optional<bool> answered;
    whom.router.call(kRoot, asked, Packer().array(2).number(1).bytes(Buffer(bytes, 'q')).take(),
                     [&](const Reply& reply) { answered = reply.dead == nullptr; });
    REQUIRE(run_until(loop, [&] { return answered.has_value(); }));
    return *answered;
  }
};

}  // namespace

TEST_CASE("what a start asks is answered to the context that starts, and to nobody else, until it is up") {
  AskingStart tree;
  // Neither to another client of the same socket, nor to a neighbour.
  for (Context* stranger : {&tree.other, &tree.beneath, &tree.door}) CHECK_FALSE(tree.is_answered(*stranger));
  CHECK(tree.is_answered(tree.client));

  Router its_child(tree.loop, config_of(kChild, {kClient, kDoor, kAbove, kRoot}));
  join(tree.loop, tree.client.router, its_child);
  tree.client.routes.announce(kChild, "child");
  Child child;
  child.id = kChild;
  tree.client.router.reply(*tree.call, StartReply::encode(child));
  REQUIRE(run_until(tree.loop, [&] { return tree.is_up; }));

  CHECK_FALSE(tree.is_answered(tree.client));
  CHECK(tree.answerer->questions == 1);
  tree.client.router.drop_child(kChild, Error{ErrorClass::kLost, Phase::kLink, "over", {}});
}

TEST_CASE("so many questions of a start are answered, and none that is too long, whoever counts beneath") {
  AskingStart tree;
  CHECK(tree.is_answered(tree.client, kQuestionBytesMax));
  CHECK_FALSE(tree.is_answered(tree.client, kQuestionBytesMax + 1));
  for (std::uint32_t i = 2; i < kQuestionsMax; ++i) CHECK(tree.is_answered(tree.client));
  CHECK_FALSE(tree.is_answered(tree.client));
  CHECK(tree.answerer->questions == kQuestionsMax - 1);
}
