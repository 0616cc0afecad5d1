// Goal: what a hostile child says in another's name, or of ids, routes and calls that are not its own, costs
// it its link or is thrown away; nobody else notices. Method: the real program, beneath it, beneath an agent
// of its or beneath an agent's agent a context for each row of a table, taken over
// (tests/support/impostor.h); the row's frames; then the link must be closed, with the row's words, or answer
// as before. Three honest siblings, those above, and one further away must say all they have to say.
#include <algorithm>
#include <functional>

#include "core/exec.h"
#include "tests/end_to_end/hostile_scene.h"

using namespace banyan;
using namespace banyan::test;

namespace {

constexpr ContextId kNobody = 4'000'000'000, kLast32 = 0xffffffff;
constexpr Handle kNothingThere = 5'000;

struct Row {
  std::string attack;
  std::string said;  // what the run says of it
  std::function<void(Impostor& us, const Scene& scene)> act;
};
using Rows = std::vector<Row>;

struct Named {
  const char* name;
  ContextId id;
};
// Everybody it is not.
std::vector<Named> others(const Scene& scene) {
  return {{"root", 0},
          {"parent", scene.parent()},
          {"above the parent", scene.hop_ids().empty() ? 0 : scene.hop_ids().front()},
          {"sibling", scene.sibling()},
          {"to-be child of a sibling", scene.sibling() + 1},
          {"cousin", scene.elsewhere()},
          {"nobody", kNobody},
          {"last", kLast32}};
}
constexpr std::size_t kOthers = 8;

Buffer route(ContextId id, ContextId parent, std::string_view name = "x") {
  return Packer().array(3).number(id).number(parent).text(name).take();
}

// A frame whose header is no header: `change` spoils it.
Buffer spoiled(const Impostor& us, const std::function<void(std::uint8_t*)>& change) {
  Buffer bytes = frame(us.data(0, kNothingThere));
  change(bytes.data());
  return bytes;
}
Buffer with_length(const Impostor& us, std::uint32_t length, std::uint8_t flags = kFirst | kLast) {
  return spoiled(us, [&](std::uint8_t* header) {
    header[3] = flags;
    store_le(header + 4, length);
  });
}

Rows forged_names() {
  Rows rows;
  for (std::size_t i = 0; i < kOthers; ++i) {
    rows.push_back({cat("A1 source ", i), "a child speaks in the name of a stranger",
                    [i](Impostor& us, const Scene& scene) {
                      Header header = us.data(0, kLog);
                      header.source = header.authority = others(scene)[i].id;
                      us.say(header, Packer().array(2).number(0).text("forged").take());
                    }});
    rows.push_back({cat("A1 authority of who lies beneath it ", i),
                    "a child claims an authority it does not have", [i](Impostor& us, const Scene& scene) {
                      us.say(us.control(scene.parent(), kAddRoute), route(us.id() + 1, us.id()));
                      Header header = us.data(0, kLog);
                      header.source = us.id() + 1;
                      header.authority = others(scene)[i].id;
                      us.say(header, Packer().array(2).number(0).text("forged").take());
                    }});
    rows.push_back({cat("A2 A3 route to ", i), "a child announces an id it was not granted",
                    [i](Impostor& us, const Scene& scene) {
                      us.say(us.control(scene.parent(), kAddRoute), route(others(scene)[i].id, us.id()));
                    }});
    rows.push_back({cat("A3 route beneath ", i),
                    "a child announces a context beneath one that is not its own",
                    [i](Impostor& us, const Scene& scene) {
                      us.say(us.control(scene.parent(), kAddRoute), route(us.id() + 1, others(scene)[i].id));
                    }});
  }
  rows.push_back({"A3 route to itself", "a child announces an id it was not granted",
                  [](Impostor& us, const Scene& scene) {
                    us.say(us.control(scene.parent(), kAddRoute), route(us.id(), us.id()));
                  }});
  rows.push_back({"A3 route twice", "a child announces an id that is there already",
                  [](Impostor& us, const Scene& scene) {
                    for (int i = 0; i < 2; ++i)
                      us.say(us.control(scene.parent(), kAddRoute), route(us.id() + 1, us.id()));
                  }});
  for (const Handle handle : {kAddRoute, kDelRoute, kAllocateId})
    rows.push_back({cat("A3 A4 A5 news of another's: ", handle),
                    "news of routes that are not the neighbour's own",
                    [handle](Impostor& us, const Scene& scene) {
                      us.say(us.control(scene.parent(), kAddRoute), route(us.id() + 1, us.id()));
                      Header header = us.control(scene.parent(), handle);
                      header.source = us.id() + 1;
                      us.say(header, route(us.id() + 2, us.id() + 1));
                    }});
  return rows;
}

Rows spoiled_frames() {
  Rows rows;
  for (const std::uint32_t length : {65'537u, 1u << 31, kLast32})
    rows.push_back({cat("A6 length ", length), "bad frame: frame too long",
                    [length](Impostor& us, const Scene&) { us.write(with_length(us, length)); }});
  rows.push_back({"A6 control of 4,097", "bad frame: control frame too long", [](Impostor& us, const Scene&) {
                    us.write(with_length(us, 4'097, kControl | kFirst | kLast));
                  }});
  rows.push_back({"A6 long message without length", "bad frame: long message without its length",
                  [](Impostor& us, const Scene&) { us.write(with_length(us, 7, kFirst)); }});
  rows.push_back({"A6 abort with payload", "bad frame: abort with a payload",
                  [](Impostor& us, const Scene&) { us.write(with_length(us, 1, kAborted | kLast)); }});
  rows.push_back({"A6 flags", "bad frame: unknown flags", [](Impostor& us, const Scene&) {
                    us.write(spoiled(us, [](std::uint8_t* header) { header[3] = 0x83; }));
                  }});
  rows.push_back({"A6 magic", "not a banyan frame", [](Impostor& us, const Scene&) {
                    us.write(spoiled(us, [](std::uint8_t* header) { header[1] = 0; }));
                  }});
  rows.push_back(
      {"A6 version", "the peer speaks protocol version 2, we speak 1", [](Impostor& us, const Scene&) {
         us.write(spoiled(us, [](std::uint8_t* header) { header[2] = 2; }));
       }});
  const Buffer nested(4'000, 0x91);                                // [[[[...
  const Buffer huge_array = {0xdd, 0xff, 0xff, 0xff, 0xff, 0x01};  // 2^32-1 elements
  const Buffer many_ids = numbers(std::vector<std::uint64_t>(513, 7));
  struct Bad {
    Handle handle;
    const char* said;
  };
  for (const Buffer& payload : {nested, huge_array, Buffer{}, Buffer(4'096, 0xc1)})
    for (const auto& [handle, said] : {Bad{kAddRoute, "an announcement of a route that is none"},
                                       Bad{kAllocateId, "a request for ids that is none"},
                                       Bad{kDelRoute, "the end of a route that is none"},
                                       Bad{kHeartbeat, "a heartbeat frame that makes no sense"},
                                       Bad{kLinkCredit, "a link-credit frame that makes no sense"}})
      rows.push_back({cat("A10 ", name_of_handle(handle), " of ", payload.size(), " bytes"), said,
                      [handle = handle, payload](Impostor& us, const Scene& scene) {
                        us.say(us.control(scene.parent(), handle), payload);
                      }});
  rows.push_back(
      {"A4 the end of 513", "the end of a route that is none", [many_ids](Impostor& us, const Scene& scene) {
         us.say(us.control(scene.parent(), kDelRoute), many_ids);
       }});
  rows.push_back(
      {"A3 a name of 256", "an announcement of a route that is none", [](Impostor& us, const Scene& scene) {
         us.say(us.control(scene.parent(), kAddRoute), route(us.id() + 1, us.id(), std::string(256, 'n')));
       }});
  for (const std::uint64_t credit : {std::uint64_t(0), (std::uint64_t(1) << 40) + 1, ~std::uint64_t(0)})
    rows.push_back({cat("A10 credit of ", credit), "a link-credit frame that makes no sense",
                    [credit](Impostor& us, const Scene& scene) {
                      us.say(us.control(scene.parent(), kLinkCredit), numbers({credit}));
                    }});
  rows.push_back(
      {"A5 more ids than there are", "a request for ids that is none", [](Impostor& us, const Scene& scene) {
         us.say(us.control(scene.parent(), kAllocateId), numbers({std::uint64_t(1) << 32}));
       }});
  return rows;
}

void check_cut_off(const Rows& rows) {
  for (const Place place : kPlaces) {
    Scene scene(place, rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i].act(scene[i], scene);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      CAPTURE(rows[i].attack);
      CHECK(scene[i].is_cut_off());
    }
    const auto endings = scene.finish();
    for (std::size_t i = 0; i < rows.size(); ++i) {
      CAPTURE(rows[i].attack);
      CHECK_THAT(endings.at(scene.name(i)).error, Catch::StartsWith(rows[i].said));
      CHECK(endings.at(scene.name(i)).error_class == "protocol");
      CHECK(endings.at(scene.name(i)).endings == 1);
    }
    scene.check_honest(endings);
    CHECK_FALSE(contains(scene.err, "forged"));
  }
}

std::string never_file() {
  return cat(std::string_view(std::getenv("TMPDIR")), "/never");
}

Buffer command() {
  ExecRequest request;
  request.argv = {"touch", never_file()};
  return request.encode();
}

}  // namespace

TEST_CASE("a child that speaks for others, or announces what is not beneath it, is cut off, and only it") {
  check_cut_off(forged_names());
}

TEST_CASE("frames that are none and control that makes no sense end their own link, with the reason") {
  check_cut_off(spoiled_frames());
}

TEST_CASE("whatever authority a child claims, nobody runs anything for it") {
  for (const Place place : kPlaces) {
    Scene scene(place, 1);
    Impostor& us = scene[0];
    us.say(us.control(scene.parent(), kAddRoute), route(us.id() + 1, us.id()));
    std::map<Handle, DeadReason> expected;
    Handle next = 100'000;
    const std::vector<ContextId> hops = scene.hop_ids();
    std::vector<ContextId> listeners = {0, scene.sibling(), scene.elsewhere(), kNobody};
    listeners.insert(listeners.end(), hops.begin(), hops.end());
    for (const ContextId source : {us.id(), us.id() + 1}) {
      std::vector<Named> claims = others(scene);
      if (source != us.id()) claims.clear();  // what is not ours cuts us off: above
      claims.push_back({"self", us.id()});
      for (const Named& claim : claims)
        for (const Handle handle : {kExec, kStartChild, kEndChild, kInfo})
          for (const ContextId to : listeners) {
            Header header = us.data(to, handle, next);
            header.source = source;
            header.authority = claim.id;
            us.say(header, command());
            const bool has_services = std::count(hops.begin(), hops.end(), to) > 0;
            expected[next++] = to == kNobody  ? DeadReason::kNoRoute
                               : to == 0      ? DeadReason::kNoHandle
                               : has_services ? DeadReason::kRefused
                                              : DeadReason::kPolicy;
          }
    }
    CHECK(us.listen_until([&] { return us.deaths.size() == expected.size(); }));
    CHECK((us.deaths == expected));
    CHECK(us.is_still_there());
    CHECK(us.answers == expected.size());  // one each
    const auto endings = scene.finish();
    CHECK(endings.at(scene.name(0)).error == "the agent was killed by signal 9");
    scene.check_honest(endings);
    CHECK(::access(never_file().c_str(), F_OK) != 0);
  }
}

TEST_CASE("the end of a route that a child does not have ends nobody, however often it is said") {
  for (const Place place : kPlaces) {
    Scene scene(place, 2);
    Impostor &us = scene[0], &victim = scene[1];
    victim.say(victim.control(scene.parent(), kAddRoute), route(victim.id() + 1, victim.id()));
    CHECK(victim.is_still_there());
    us.say(us.control(scene.parent(), kAddRoute), route(us.id() + 1, us.id()));
    std::vector<std::uint64_t> ids = {us.id(), victim.id(), victim.id() + 1, us.id() + 1, us.id() + 1};
    for (const Named& other : others(scene)) ids.push_back(other.id);
    for (int i = 0; i < 100; ++i) us.say(us.control(scene.parent(), kDelRoute), numbers(ids));
    us.say(us.control(scene.parent(), kDelRoute), numbers({}));
    CHECK(us.is_still_there());

    // Who was behind the other one speaks as before; our own has ended, and is not heard any more.
    const auto ask = [&](Impostor& whose) {
      Header header = whose.data(0, kNothingThere, 777'777);
      header.source = whose.id() + 1;
      whose.say(header);
      CHECK(whose.is_still_there());
      return whose.listen_until([&] { return whose.deaths.contains(777'777); });
    };
    CHECK(ask(victim));
    Header header = us.data(0, kNothingThere, 777'777);
    header.source = us.id() + 1;
    us.say(header);
    Header behind = us.data(0, kNothingThere, 777'778);
    us.say(behind);
    CHECK(us.listen_until([&] { return us.deaths.contains(777'778); }));
    CHECK_FALSE(us.deaths.contains(777'777));

    // Another link that says it again, when the one before has ended: as after a new connection.
    const ContextId gone = us.id() + 1;
    us.end();
    for (int i = 0; i < 100; ++i)
      victim.say(victim.control(scene.parent(), kDelRoute), numbers({gone, us.id(), scene.sibling()}));
    CHECK(victim.is_still_there());
    scene.check_honest(scene.finish());
  }
}

TEST_CASE(
    "frames of every length that may be, and payloads that nobody can read, are answered or thrown away") {
  const Buffer nested(32'768, 0x91), text = {0xdb, 0xff, 0xff, 0xff, 0xff, 'a'},
                                     array = {0xdd, 0xff, 0xff, 0xff, 0xff, 0x01},
                                     map = {0xdf, 0xff, 0xff, 0xff, 0xff, 0x01};
  Buffer counts;  // each promises what the next ones would have to be
  for (int i = 0; i < 6'000; ++i) counts.insert(counts.end(), {0xdd, 0x00, 0x00, 0x7f, 0xff});
  for (const Place place : kPlaces) {
    Scene scene(place, 1);
    Impostor& us = scene[0];
    // The longest is longer than a first window: it goes where there is none.
    for (const std::size_t length : {std::size_t(0), std::size_t(1), kFramePayloadMax})
      us.say(us.data(length < 2 ? 0 : kNobody, kNothingThere, 1'000 + length), Buffer(length));
    CHECK(us.listen_until([&] { return us.deaths.size() == 3; }));
    StreamId stream = kFirstFreeStream;
    for (const Buffer& payload : {nested, text, array, map, counts, Buffer(60'000, 0xdc), Buffer()}) {
      for (const Handle handle : {kLog, kCancel}) {
        Header header = us.data(0, handle, 100'000);
        header.stream = stream++;
        us.say(header, payload);
      }
      const Buffer start(payload.begin(),
                         payload.begin() + std::min<std::ptrdiff_t>(4'000, std::ssize(payload)));
      for (const Handle handle :
           {kStreamCredit, kStreamBlocked, kCancel, kIntroduce, kShutdown, kHello, kIdentity})
        for (const ContextId to : {ContextId(0), scene.parent()}) us.say(us.control(to, handle), start);
      Header dead = us.control(0, 123'456);
      dead.reply_to = kIsDead;
      us.say(dead, start);
    }
    CHECK(us.is_still_there());
    const auto endings = scene.finish();
    CHECK(endings.at(scene.name(0)).error == "the agent was killed by signal 9");
    scene.check_honest(endings);
  }
}

TEST_CASE("a header cut at each byte, and then the end, loses that link and none beside it") {
  for (const Place place : kPlaces) {
    Scene scene(place, kHeaderBytes + 2);
    for (std::size_t i = 0; i < kHeaderBytes + 2; ++i) {
      const Buffer whole = frame(scene[i].data(0, kNothingThere), Buffer(3));
      scene[i].write(Bytes(whole).first(i + 1));
      scene[i].stop_speaking();
    }
    for (std::size_t i = 0; i < kHeaderBytes + 2; ++i) CHECK(scene[i].is_cut_off());
    scene.check_honest(scene.finish());
  }
}
