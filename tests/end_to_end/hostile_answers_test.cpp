// Goal: an answer, a death or an output counts only from whom it was asked: one that knows every handle and
// says them all changes nothing, and the real ones still arrive.
// Method: the real program shows its handles with -vv; a context that was taken over forges whatever they
// might be waiting for, each way a frame can be, while the honest sibling it is about still works.
#include "core/exec.h"
#include "tests/end_to_end/hostile_scene.h"

using namespace banyan;
using namespace banyan::test;

namespace {

// "local < exec, 0 to 3, authority 0, stream 0, 57 bytes, first last, reply to 1122334455667788", or, of what
// `context` sends to handles of the root's, "local > 1122334455667788, 3 to 0, ...".
std::vector<Handle> handles_of(const std::string& err, ContextId context) {
  std::vector<Handle> handles;
  for (const std::string& line : lines_of(err)) {
    const std::size_t call = line.find(cat("exec, 0 to ", context, ","));
    const std::size_t reply = line.find("reply to ");
    if (call != line.npos && reply != line.npos)
      handles.push_back(std::strtoull(line.c_str() + reply + 9, nullptr, 16));
    const std::size_t word = line.find(cat(", ", context, " to 0,"));
    const std::size_t sent = line.find(" > ");
    if (word == line.npos || sent == line.npos || word != sent + 3 + 16) continue;
    handles.push_back(std::strtoull(line.c_str() + sent + 3, nullptr, 16));
  }
  return handles;
}

}  // namespace

TEST_CASE(
    "answers, deaths and output forged for what waits for another are not heard, and the real ones are") {
  for (const Place place : kPlaces) {
    Scene scene(place, 1, {"-vv"});
    Impostor& us = scene[0];
    std::vector<Handle> handles;
    std::vector<ContextId> victims = scene.hop_ids();
    victims.insert(victims.end(), {scene.sibling(), scene.elsewhere()});
    for (const ContextId victim : victims) {
      // The call, its events, its output: what is written of them may be read later than the output itself.
      std::vector<Handle> theirs;
      CAPTURE(victim);
      REQUIRE(scene.program.wait_until([&](const std::string&, const std::string& err) {
        theirs = handles_of(err, victim);
        return theirs.size() >= 3;
      }));
      handles.insert(handles.end(), theirs.begin(), theirs.end());
    }
    ExecOutcome outcome;
    outcome.code = 42;
    const Buffer death = Packer().array(2).number(6).text("forged").take();
    std::size_t forged = 0;
    for (const Handle handle : handles)
      for (const Buffer& payload :
           {outcome.encode(), death, Buffer{'f', 'o', 'r', 'g', 'e', 'd', '\n'}, Buffer{}})
        for (const StreamId stream : {kCallStream, kReplyStream, kFirstFreeStream, StreamId(77)})
          for (const Handle reply_to : {kNoReply, kIsDead, Handle(900'000 + ++forged)}) {
            Header header = us.data(0, handle, reply_to);
            header.stream = stream;
            us.say(header, payload);
            us.say(us.control(0, handle, reply_to), payload);
            header.flags = kAborted | kLast;
            us.say(header);
          }
    // And what it had to say in their name: cancels of their calls, credit for their streams, to them and to
    // the root.
    for (const ContextId to : {ContextId(0), scene.sibling(), scene.elsewhere(), scene.parent()})
      for (const Handle handle : handles) {
        us.say(us.control(to, kCancel), numbers({handle}));
        us.say(us.data(to, kCancel), numbers({handle}));
        us.say(us.control(to, kStreamCredit), pack_credit(2, 1'000'000, false));
      }
    CHECK(us.is_still_there());
    const auto endings = scene.finish();
    scene.check_honest(endings);
    CHECK_FALSE(contains(endings.at(scene.name(0)).out, "forged"));
  }
}
