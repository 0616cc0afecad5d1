// Goal: what a context answers is believed no further than it can be true, and nothing it answers harms us.
// Method: a root in this process and real agents; one is taken over, so that the root's questions reach the
// test, which answers with lies, with garbage, and for others.

#include <catch2/catch.hpp>

#include "core/info.h"
#include "parent/command.h"
#include "tests/support/impostor.h"
#include "tests/support/root.h"

using namespace banyan;
using namespace banyan::test;

namespace {

// Whose questions reach the test.
struct Asker : Root {
  // Until the far end has heard a message to `handle`: that one.
  Impostor::Heard wait_for(Impostor& far, Handle handle) {
    Impostor::Heard found;
    REQUIRE(run_until(loop, [&] {
      far.listen(0);
      for (const Impostor::Heard& one : far.heard)
        if (one.header.handle == handle && !one.header.has(kControl)) found = one;
      return found.header.handle == handle;
    }));
    far.heard.clear();
    return found;
  }
  // Until we have read all it said.
  bool has_heard_out(Impostor& far) {
    far.ask();
    return run_until(loop, [&] {
      far.listen(0);
      return far.is_answered();
    });
  }
  static Header answer(const Impostor& far, const Header& call) {
    Header header = far.data(call.source, call.reply_to);
    header.stream = kReplyStream;
    return header;
  }
};

Buffer says_it_is_up(ContextId id) {
  Child child;
  child.id = id;
  child.hello = Hello::of_this_process(1);
  return StartReply::encode(child);
}

std::vector<Buffer> garbage() {
  Buffer counts;  // each promises what the next ones would have to be
  for (int i = 0; i < 6'000; ++i) counts.insert(counts.end(), {0xdd, 0x00, 0x00, 0x7f, 0xff});
  return {Buffer{},
          Buffer(32'768, 0x91),  // [[[[...
          counts,
          {0xdd, 0xff, 0xff, 0xff, 0xff},  // 2^32-1 elements
          {0x92, 0xc3, 0xdd, 0xff, 0xff, 0xff, 0xff},
          {0x92, 0xc3, 0x95, 0x01, 0x00, 0x00, 0xc6, 0xff, 0xff, 0xff, 0xff},  // 4 GiB of bytes
          Buffer(60'000, 0xc1)};
}

}  // namespace

TEST_CASE("a context that lies about the children it was asked for is not believed, whatever it answers") {
  Asker root;
  const Child honest = root.child(0), hop = root.child(0);
  Impostor far(pid_t(hop.hello.pid), hop.id);
  std::vector<Buffer> answers = garbage();
  for (const ContextId id :
       {ContextId(0), hop.id, honest.id, hop.id + 1, honest.id + 1, ContextId(0xffffffff)})
    answers.push_back(says_it_is_up(id));
  Recipe recipe;
  recipe.name = recipe.method = "local";
  for (std::size_t i = 0; i < answers.size(); ++i) {
    CAPTURE(i);
    int told = 0, lost = 0;
    bool is_up = false;
    root.remote.start(
        hop.id, recipe,
        [&](const Result<Child>& child) {
          ++told;
          is_up = bool(child);
        },
        [&](ContextId, const Error&) { ++lost; });
    const Header call = root.wait_for(far, kStartChild).header;
    far.say(Asker::answer(far, call), answers[i]);
    far.say(Asker::answer(far, call), answers[i]);  // one answer counts
    CHECK(run_until(root.loop, [&] { return told > 0; }));
    CHECK_FALSE(is_up);
    CHECK(told == 1);
    CHECK(lost == 0);
  }
  CHECK(root.remote.count() == 0);
  CHECK(root.routes.size() == 2);
  CHECK(root.told.lost == 0);
}

TEST_CASE("what a context says of a command is read within bounds, and ends that command alone") {
  Asker root;
  const Child hop = root.child(0);
  Impostor far(pid_t(hop.hello.pid), hop.id);
  int others = 0;
  Command::Callbacks of_the_other;
  of_the_other.on_done = [&](const Result<ExecOutcome>&) { ++others; };
  ExecRequest request;
  request.argv = {"true"};
  const Command other(root.router, hop.id, request, std::move(of_the_other));
  root.wait_for(far, kExec);
  for (const Buffer& answer : garbage()) {
    int done = 0, started = 0;
    bool is_believed = false;
    Command::Callbacks callbacks;
    callbacks.on_started = [&](const ExecStarted&) { ++started; };
    callbacks.on_done = [&](const Result<ExecOutcome>& result) {
      ++done;
      is_believed = bool(result);
    };
    const Command command(root.router, hop.id, request, std::move(callbacks));
    const auto [call, payload] = root.wait_for(far, kExec);
    const Result<ExecRequest> asked = ExecRequest::decode(payload);
    REQUIRE(bool(asked));
    far.say(far.data(0, asked->events), answer);
    far.say(Asker::answer(far, call), answer);
    far.say(Asker::answer(far, call), answer);
    CHECK(run_until(root.loop, [&] { return done > 0; }));
    CHECK(root.has_heard_out(far));
    CHECK(done == 1);
    CHECK(started == 0);
    CHECK_FALSE(is_believed);
  }
  CHECK(others == 0);
  CHECK(root.told.lost == 0);
}

TEST_CASE(
    "an acknowledgement of a cancel that another context forges is not heard, and the real one comes last") {
  Asker root;
  Handle acknowledge_to = kNoReply;
  root.runner.watch_frames([&](std::string_view, bool outgoing, const Header& header) {
    if (outgoing && header.handle == kCancel && !header.has(kControl)) acknowledge_to = header.reply_to;
  });
  const Child honest = root.child(0), hostile = root.child(0);
  Impostor far(pid_t(hostile.hello.pid), hostile.id);
  ExecRequest request;
  request.argv = {"trap '' TERM; while :; do sleep 0.1; done"};  // so there is a second in which to lie
  request.shell = true;
  std::vector<std::string> heard;
  const Router::CallId call = root.router.call(honest.id, kExec, request.encode(), [&](const Reply& reply) {
    heard.push_back(reply.dead == nullptr ? "outcome" : "dead");
  });

  root.router.cancel(
      call, [&](const Reply& reply) { heard.push_back(reply.dead == nullptr ? "acknowledgement" : "dead"); });

  REQUIRE(run_until(root.loop, [&] { return acknowledge_to != kNoReply; }));
  for (const Handle handle : {acknowledge_to, call})
    for (const StreamId stream : {kCallStream, kReplyStream})
      for (const Handle reply_to : {kNoReply, kIsDead}) {
        Header header = far.data(0, handle, reply_to);
        header.stream = stream;
        far.say(header);
        far.say(far.control(0, handle, reply_to), Packer().array(2).number(6).text("forged").take());
      }
  CHECK(root.has_heard_out(far));
  CHECK(heard.empty());
  CHECK(run_until(root.loop, [&] { return heard.size() == 2; }));
  CHECK(heard == std::vector<std::string>{"outcome", "acknowledgement"});
}
