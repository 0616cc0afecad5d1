// Goal: who is called back may destroy what calls him, in every callback of a context and of a listener, and
// when a runner's children have ended. Method: owners that destroy theirs, and themselves, in the callback
// that a test names; what would be touched after that a build with AddressSanitizer sees.

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>

#include "core/msgpack.h"
#include "core/text.h"
#include "parent/unix_client.h"
#include "parent/unix_listener.h"
#include "tests/support/tree.h"

using namespace banyan;
using namespace banyan::test;

namespace {

class NoImages final : public ImageStore {
 public:
  const Image* find(std::string_view, ImageKind) const override { return nullptr; }
  std::vector<std::string_view> architectures() const override { return {}; }
  void obtain(std::string_view, ImageKind, Function<void()> done) override { done(); }
  Result<int> local_image(ImageKind) override { return -1; }
};

enum class At { kNever, kUp, kParentLost, kEnd };

// Goes with its context in the callback that was named.
class Mortal final : public ChildContext::Owner {
 public:
  struct Told {
    int up = 0, parent_lost = 0, ended = 0;
    std::optional<Error> why;
  };
  Mortal(EpollLoop& loop, std::unique_ptr<Mortal>& self, Told& told, At at)
      : context(loop, images_, *this, nullptr), self_(self), told_(told), at_(at) {}

  void on_context_up() override {
    ++told_.up;
    go(At::kUp);
  }
  void on_parent_lost(const Error&) override {
    ++told_.parent_lost;
    go(At::kParentLost);
  }
  void on_context_end(const Error* why) override {
    ++told_.ended;
    Told& told = told_;
    go(At::kEnd);
    if (why != nullptr) told.why = *why;
  }

 private:
  NoImages images_;

 public:
  ChildContext context;

 private:
  void go(At at) {
    if (at == at_) self_.reset();
  }
  std::unique_ptr<Mortal>& self_;
  Told& told_;
  const At at_;
};

// A context whose parent is the test: the other end of its link.
struct Pair {
  EpollLoop loop;
  std::unique_ptr<Mortal> mortal;
  Mortal::Told told;
  Fd parent;

  explicit Pair(At at, Nanos identity_deadline = ChildContext::kIdentityDeadline) {
    mortal = std::make_unique<Mortal>(loop, mortal, told, at);
    auto ends = make_socketpair();
    REQUIRE(bool(ends));
    parent = std::move(ends->first);
    const int fd = ends->second.release();
    mortal->context.begin({fd, fd}, 0, identity_deadline);
  }
  // More follows in the same packet, so that whoever reads has not done with it yet.
  void say(Handle handle, const Buffer& payload, int times = 1) {
    Header header = handshake_header(handle);
    header.destination = 5;
    header.source = header.authority = 1;
    header.length = std::uint32_t(payload.size());
    Buffer frame(kHeaderBytes);
    encode_header(header, frame.data());
    frame.insert(frame.end(), payload.begin(), payload.end());
    Buffer bytes;
    for (int i = 0; i < times; ++i) bytes.insert(bytes.end(), frame.begin(), frame.end());
    REQUIRE(write_all(parent.get(), bytes.data(), bytes.size()));
  }
  static Buffer identity() {
    Identity identity;
    identity.id = 5;
    identity.first_id = 6;
    identity.id_count = 4;
    identity.ancestors = {1, 0};
    return identity.encode();
  }
  bool is_gone() {
    const bool gone = run_until(loop, [this] { return mortal == nullptr; });
    for (int i = 0; i < 20; ++i) loop.run_once(kMillisecond);
    return gone;
  }
};

// Where programs listen, in a folder of its own.
struct Door {
  EpollLoop loop;
  std::string folder;
  Router router{loop, config_of(0)};
  IdSource ids{router, {1, 100'000}};
  RouteMonitor routes{router, ids};
  std::unique_ptr<UnixListener> listener;
  Mortal::Told told;
  std::unique_ptr<Mortal> client;

  Door() {
    const char* base = ::getenv("TMPDIR");
    folder = cat(std::string_view(base != nullptr ? base : "/tmp"), "/banyan-owner-XXXXXX");
    REQUIRE(::mkdtemp(folder.data()) != nullptr);
    auto opened = UnixListener::open(loop, router, ids, routes, folder + "/door");
    REQUIRE(bool(opened));
    listener = std::move(*opened);
  }
  ~Door() {
    client.reset();
    listener.reset();
    ::rmdir(folder.c_str());
  }
  void knock(At at = At::kNever) {
    client = std::make_unique<Mortal>(loop, client, told, at);
    REQUIRE(bool(join(client->context, folder + "/door")));
  }
  void settle() {
    for (int i = 0; i < 20; ++i) loop.run_once(kMillisecond);
  }
};

}  // namespace

TEST_CASE("a context may be destroyed when it comes up, though more has come with its identity") {
  Pair pair(At::kUp);
  pair.say(kIdentity, Pair::identity(), 3);

  CHECK(pair.is_gone());
  CHECK(pair.told.up == 1);
  CHECK(pair.told.ended == 0);
}

TEST_CASE("a context may be destroyed when its parent is lost") {
  Pair pair(At::kParentLost);
  pair.say(kIdentity, Pair::identity());
  REQUIRE(run_until(pair.loop, [&] { return pair.told.up == 1; }));
  pair.parent.reset();

  CHECK(pair.is_gone());
  CHECK(pair.told.parent_lost == 1);
  CHECK(pair.told.ended == 0);
}

TEST_CASE("a context may be destroyed when it ends, whatever ends it") {
  enum class By { kDeadline, kGarbage, kClosing, kOwnerEarly, kOwner, kLoss, kShutdown };
  for (const By by :
       {By::kDeadline, By::kGarbage, By::kClosing, By::kOwnerEarly, By::kOwner, By::kLoss, By::kShutdown}) {
    CAPTURE(int(by));
    Pair pair(At::kEnd, by == By::kDeadline ? 20 * kMillisecond : ChildContext::kIdentityDeadline);
    const bool is_up = by == By::kOwner || by == By::kLoss || by == By::kShutdown;
    if (is_up) {
      pair.say(kIdentity, Pair::identity());
      REQUIRE(run_until(pair.loop, [&] { return pair.told.up == 1; }));
    }
    switch (by) {
      case By::kDeadline:
        break;
      case By::kGarbage:
        pair.say(kIdentity, Packer().array(1).number(1u).take(), 3);
        break;
      case By::kClosing:
      case By::kLoss:
        pair.parent.reset();
        break;
      case By::kOwnerEarly:
      case By::kOwner:
        pair.mortal->context.end();
        break;
      case By::kShutdown:
        pair.say(kShutdown, Packer().array(1).number(500u).take());
        break;
    }

    CHECK(pair.is_gone());
    CHECK(pair.told.ended == 1);
    CHECK(pair.told.up == (is_up ? 1 : 0));
    CHECK(pair.told.parent_lost == (by == By::kLoss ? 1 : 0));
    CHECK(pair.told.why.has_value() == (by == By::kGarbage || by == By::kClosing));
  }
}

TEST_CASE("what comes after a context has ended without coming up does not bring it up") {
  Pair pair(At::kNever);
  pair.mortal->context.end();
  pair.say(kIdentity, Pair::identity());

  REQUIRE(run_until(pair.loop, [&] { return pair.told.ended == 1; }));
  for (int i = 0; i < 20; ++i) pair.loop.run_once(kMillisecond);

  CHECK(pair.told.up == 0);
  CHECK(pair.told.ended == 1);
}

TEST_CASE("a context may be destroyed when it hears that it has detached, or why not") {
  for (const bool is_let_go : {true, false}) {
    CAPTURE(is_let_go);
    Door door;
    door.knock();
    REQUIRE(run_until(door.loop, [&] { return door.told.up == 1; }));
    if (!is_let_go) door.client->context.end();
    std::optional<bool> detached;
    const std::array<std::uint64_t, 8> held = {8, 7, 6, 5, 4, 3, 2, 1};

    door.client->context.detach([&door, &detached, held](const Result<Done>& result) {
      door.client.reset();
      detached = bool(result) && held[7] == 1;
    });

    REQUIRE(run_until(door.loop, [&] { return detached.has_value(); }));
    CHECK(detached == is_let_go);
    door.settle();
  }
}

TEST_CASE("a context that was destroyed tells nobody that it could not detach") {
  Door door;
  door.knock();
  bool told = false;
  door.client->context.detach([&](const Result<Done>&) { told = true; });  // it is not up

  door.client.reset();
  door.settle();

  CHECK_FALSE(told);
}

TEST_CASE("a listener may be destroyed when a client has come") {
  Door door;
  std::string name;
  ContextId id = 0;
  const std::array<std::uint64_t, 8> held = {8, 7, 6, 5, 4, 3, 2, 1};
  door.listener->on_up = [&door, &name, &id, held](ContextId client, const Hello& hello, pid_t) {
    door.listener.reset();
    name = hello.host_name;
    id = client + ContextId(held[7]) - 1;
  };
  door.knock();

  REQUIRE(run_until(door.loop, [&] { return id != 0; }));

  door.settle();
  CHECK_FALSE(name.empty());
  CHECK(door.router.way_to(id) == id);  // who is there stays
  CHECK(door.told.parent_lost == 0);
}

TEST_CASE("a listener may be destroyed when a client has gone, however it goes") {
  for (const bool all_are_told : {false, true}) {
    CAPTURE(all_are_told);
    Door door;
    std::string why;
    const std::array<std::uint64_t, 8> held = {8, 7, 6, 5, 4, 3, 2, 1};
    bool done = false;
    door.listener->on_gone = [&door, &why, held](ContextId, const Error& error) {
      door.listener.reset();
      if (held[7] == 1) why = error.text;
    };
    door.knock();
    REQUIRE(run_until(door.loop, [&] { return door.told.up == 1 && door.listener->clients() == 1; }));

    if (all_are_told) door.listener->shut_down(kSecond, [&] { done = true; });
    if (!all_are_told) door.client.reset();

    REQUIRE(run_until(door.loop, [&] {
      if (door.told.ended > 0) door.client.reset();
      return door.listener == nullptr;
    }));
    door.settle();
    CHECK_FALSE(why.empty());
    CHECK_FALSE(done);  // whose it was is no more
  }
}

TEST_CASE("a listener may be destroyed when all its clients have ended") {
  Door door;
  door.knock();
  REQUIRE(run_until(door.loop, [&] { return door.told.up == 1 && door.listener->clients() == 1; }));

  door.listener->shut_down(kSecond, [&] { door.listener.reset(); });

  REQUIRE(run_until(door.loop, [&] {
    if (door.told.ended > 0) door.client.reset();
    return door.listener == nullptr;
  }));
  door.settle();
}

TEST_CASE("a client that comes and goes at once is said to have come before it is said to have gone") {
  Door door;
  std::string told;
  door.listener->on_up = [&](ContextId, const Hello&, pid_t) { told += "up "; };
  door.listener->on_gone = [&](ContextId, const Error&) { told += "gone "; };
  auto socket = connect_to_listener(door.folder + "/door");
  REQUIRE(bool(socket));
  Header header = handshake_header(kHello);
  const Buffer payload = Hello::of_this_process(0).encode();
  header.length = std::uint32_t(payload.size());
  Buffer frame(kHeaderBytes);
  encode_header(header, frame.data());
  frame.insert(frame.end(), payload.begin(), payload.end());
  REQUIRE(write_all(socket->get(), frame.data(), frame.size()));
  socket->reset();

  CHECK(run_until(door.loop, [&] { return told == "up gone "; }));
}

TEST_CASE("a runner may be destroyed when what it started has ended, and tells nobody once it is") {
  struct Broken final : ImageStore {
    const Image* find(std::string_view, ImageKind) const override { return nullptr; }
    std::vector<std::string_view> architectures() const override { return {}; }
    void obtain(std::string_view, ImageKind, Function<void()> done) override { done(); }
    Result<int> local_image(ImageKind) override {
      return Error{ErrorClass::kBootstrap, Phase::kHello, "there is no image", {}};
    }
  } images;
  for (const bool is_destroyed_first : {false, true}) {
    CAPTURE(is_destroyed_first);
    Door door;
    auto runner = std::make_unique<Runner>(door.loop, door.router, images, door.ids, door.routes, nullptr);
    bool told = false;
    if (!is_destroyed_first)
      runner->start(
          Recipe(), [](const Result<Child>&) {}, [](ContextId, const Error&) {});
    runner->shut_down_all(kSecond, [&] {
      runner.reset();
      told = true;
    });
    if (is_destroyed_first) runner.reset();
    door.settle();

    CHECK(told == !is_destroyed_first);
    CHECK(runner == nullptr);
  }
}
