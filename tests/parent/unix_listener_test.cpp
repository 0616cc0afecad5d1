// Goal: who comes through a socket of ours is a child with our authority and no more than that; nobody who
// should not comes in, and nobody who comes in holds up others. Method: real sockets on one loop: a tree of
// routers, a listener in the middle of it, and clients that are whole contexts, or bytes written by hand.

#include "parent/unix_listener.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <memory>
#include <optional>

#include "core/text.h"
#include "parent/unix_client.h"
#include "tests/support/tree.h"

using namespace banyan;
using namespace banyan::test;

namespace {

constexpr Handle kForAncestors = 500, kForAll = 501, kNever = 502;
constexpr ContextId kRoot = 0, kAbove = 1, kDoor = 1'001, kBeneath = 1'010, kDeeper = 1'015;

class NoImages final : public ImageStore {
 public:
  const Image* find(std::string_view, ImageKind) const override { return nullptr; }
  std::vector<std::string_view> architectures() const override { return {}; }
  void obtain(std::string_view, ImageKind, Function<void()> done) override { done(); }
  Result<int> local_image(ImageKind) override { return -1; }
};

// A private folder, and what is left in it is removed.
struct Folder {
  std::string path;
  Folder() {
    const char* base = ::getenv("TMPDIR");
    path = cat(std::string_view(base != nullptr ? base : "/tmp"), "/banyan-door-XXXXXX");
    REQUIRE(::mkdtemp(path.data()) != nullptr);
  }
  ~Folder() {
    for (const char* name : {"/door", "/other", "/link"}) ::unlink((path + name).c_str());
    ::rmdir(path.c_str());
  }
  std::string door() const { return path + "/door"; }
};

// A context of the tree.
struct Context {
  Router router;
  std::optional<IdSource> ids;
  std::optional<RouteMonitor> routes;
  int served = 0, cancelled = 0;
  std::optional<ContextId> authority;  // of the last that was accepted

  Context(EpollLoop& loop, RouterConfig config, IdRange range) : router(loop, std::move(config)) {
    ids.emplace(router, range);
    routes.emplace(router, *ids);
    listen(router);
  }
  void listen(Router& at) {
    const auto answer = [this, &at](Incoming& message) {
      authority = message.header.authority;
      at.reply(message.header, {});
    };
    at.add_handler(kForAncestors, Access::ancestors(), answer);
    at.add_handler(kForAll, Access::anyone(), answer);
    at.add_handler(kNever, Access::anyone(), [this, &at](Incoming& message) {
      ++served;
      at.on_cancel(message.header, [this] { ++cancelled; });
    });
  }
  void have(EpollLoop& loop, Context& child, IdRange granted) {
    join(loop, router, child.router);
    router.own({child.router.id(), granted.first + granted.count - child.router.id()});
    router.grant(child.router.id(), granted);
    routes->announce(child.router.id(), "child");
  }
};

// What became of one call.
struct Outcome {
  int answers = 0;
  std::optional<DeadReason> dead;
  OnReply listener() {
    return [this](const Reply& reply) {
      ++answers;
      if (reply.dead != nullptr) dead = reply.dead->reason;
    };
  }
};

struct Client final : ChildContext::Owner {
  NoImages images;
  ChildContext context;
  bool is_up = false, has_ended = false;
  std::optional<Error> lost, why;

  explicit Client(EpollLoop& loop) : context(loop, images, *this, nullptr) {}
  void on_context_up() override { is_up = true; }
  void on_parent_lost(const Error& error) override { lost = error; }
  void on_context_end(const Error* error) override {
    has_ended = true;
    if (error != nullptr) why = *error;
  }
};

// root > above > door > beneath > deeper
struct Tree {
  EpollLoop loop;
  Folder folder;
  Context root{loop, config_of(kRoot), {5'000, 100'000}};
  Context above{loop, config_of(kAbove, {kRoot}), {2, 900}};
  Context door{loop, config_of(kDoor, {kAbove, kRoot}), {1'100, 2'800}};
  Context beneath{loop, config_of(kBeneath, {kDoor, kAbove, kRoot}), {1'011, 4}};
  Context deeper{loop, config_of(kDeeper, {kBeneath, kDoor, kAbove, kRoot}), {1'016, 3}};
  std::vector<std::unique_ptr<Client>> clients;
  std::unique_ptr<UnixListener> listener;
  int gone = 0;

  explicit Tree(const UnixListenerOptions& options = {}) {
    root.have(loop, above, {2, 4'000});
    above.have(loop, door, {1'002, 2'900});
    door.have(loop, beneath, {1'011, 10});
    beneath.have(loop, deeper, {1'016, 3});
    REQUIRE(run_until(loop, [this] { return root.router.routes() == 4; }));
    auto opened = UnixListener::open(loop, door.router, *door.ids, *door.routes, folder.door(), options);
    INFO((opened ? std::string() : opened.error().text));
    REQUIRE(bool(opened));
    listener = std::move(*opened);
    listener->on_gone = [this](ContextId, const Error&) { ++gone; };
  }
  Client& knock(Nanos deadline = kJoinDeadline) {
    clients.push_back(std::make_unique<Client>(loop));
    const Result<Done> knocked = join(clients.back()->context, folder.door(), deadline);
    INFO((knocked ? std::string() : knocked.error().text));
    REQUIRE(bool(knocked));
    return *clients.back();
  }
  Client& enter() {
    Client& client = knock();
    REQUIRE(run_until(loop, [&] { return client.is_up && root.routes->find(client.context.router().id()); }));
    return client;
  }
  // A connection on which the test writes what it likes.
  Fd connection() const {
    auto connected = connect_to_listener(folder.door());
    REQUIRE(bool(connected));
    return std::move(*connected);
  }
  bool is_closed(const Fd& fd) {
    std::uint8_t bytes[4096];
    for (;;) {
      const IoResult result = loop.read(fd.get(), bytes, sizeof bytes);
      if (result.status == IoResult::Status::kOk) continue;
      return result.status != IoResult::Status::kWouldBlock;
    }
  }
  Outcome ask(Router& from, ContextId whom, Handle what) {
    Outcome outcome;
    from.call(whom, what, {}, outcome.listener());
    REQUIRE(run_until(loop, [&] { return outcome.answers > 0; }));
    return outcome;
  }
};

}  // namespace

TEST_CASE("a client of the socket is a child of the listener's, known up to the root") {
  Tree tree;
  std::optional<pid_t> pid;
  std::optional<Hello> hello;
  tree.listener->on_up = [&](ContextId, const Hello& said, pid_t its_pid) {
    hello = said;
    pid = its_pid;
  };

  Client& client = tree.enter();

  const ContextId id = client.context.router().id();
  CHECK(tree.root.routes->find(id)->parent == kDoor);
  CHECK(tree.root.routes->find(id)->name == cat("process ", ::getpid()));
  CHECK(client.context.router().config().ancestors == std::vector<ContextId>{kDoor, kAbove, kRoot});
  CHECK(pid == ::getpid());
  REQUIRE(hello);
  CHECK(hello->uid == ::getuid());
  CHECK(tree.listener->clients() == 1);
  CHECK(tree.listener->greeting() == 0);
}

TEST_CASE("a client has the authority of the listener: those beneath obey it, those above do not") {
  Tree tree;
  Client& client = tree.enter();
  Router& from = client.context.router();

  for (Context* beneath : {&tree.door, &tree.beneath, &tree.deeper}) {
    CAPTURE(beneath->router.id());
    CHECK_FALSE(tree.ask(from, beneath->router.id(), kForAncestors).dead);
    CHECK(beneath->authority == kDoor);
  }
  for (Context* above : {&tree.above, &tree.root}) {
    CAPTURE(above->router.id());
    CHECK(tree.ask(from, above->router.id(), kForAncestors).dead == DeadReason::kRefused);
    CHECK_FALSE(tree.ask(from, above->router.id(), kForAll).dead);
    CHECK(above->authority == kDoor);
  }
}

TEST_CASE("children of a client speak for themselves, and nobody beneath the listener obeys a neighbour") {
  Tree tree;
  Client& client = tree.enter();
  Router& up = client.context.router();
  std::optional<IdRange> ids;
  client.context.ids().take(3, [&](const IdRange* given, const Dead&) {
    if (given != nullptr) ids = *given;
  });
  REQUIRE(run_until(tree.loop, [&] { return ids.has_value(); }));
  Router its_child(tree.loop, config_of(ids->first, {up.id(), kDoor, kAbove, kRoot}));
  join(tree.loop, up, its_child);
  client.context.routes().announce(its_child.id(), "of the client");
  REQUIRE(run_until(tree.loop, [&] { return tree.root.routes->find(its_child.id()) != nullptr; }));
  Context of_client(tree.loop, config_of(9), {});
  of_client.listen(up);

  CHECK(tree.ask(its_child, kDoor, kForAncestors).dead == DeadReason::kRefused);
  CHECK_FALSE(tree.ask(its_child, kDoor, kForAll).dead);
  CHECK(tree.door.authority == its_child.id());
  CHECK(tree.ask(its_child, kBeneath, kForAll).dead == DeadReason::kPolicy);
  // The other way: nobody speaks to a client unasked, and once asked he is as any neighbour.
  CHECK(tree.ask(tree.beneath.router, up.id(), kForAll).dead == DeadReason::kPolicy);
  CHECK_FALSE(tree.ask(up, kBeneath, kForAll).dead);
  CHECK_FALSE(tree.ask(tree.beneath.router, up.id(), kForAll).dead);
  CHECK(tree.ask(tree.beneath.router, up.id(), kForAncestors).dead == DeadReason::kRefused);
  CHECK(tree.ask(tree.beneath.router, its_child.id(), kForAll).dead == DeadReason::kPolicy);
  up.drop_child(its_child.id(), Error{ErrorClass::kLost, Phase::kLink, "over", {}});
}

TEST_CASE("the end of a client is the end of what it asked for, however deep, and the other way round") {
  Tree tree;
  Client& client = tree.enter();
  Router& from = client.context.router();
  Outcome at_beneath, at_deeper, at_above;
  from.call(kBeneath, kNever, {}, at_beneath.listener());
  from.call(kDeeper, kNever, {}, at_deeper.listener());
  from.call(kAbove, kNever, {}, at_above.listener());
  REQUIRE(run_until(tree.loop, [&] {
    return tree.beneath.served == 1 && tree.deeper.served == 1 && tree.above.served == 1;
  }));
  Client& other = tree.enter();
  Outcome lost;
  other.context.router().call(kDeeper, kNever, {}, lost.listener());
  REQUIRE(run_until(tree.loop, [&] { return tree.deeper.served == 2; }));

  const ContextId id = from.id();
  tree.clients.front().reset();

  CHECK(run_until(tree.loop, [&] {
    return tree.beneath.cancelled == 1 && tree.deeper.cancelled == 1 && tree.above.cancelled == 1;
  }));
  CHECK(tree.root.routes->find(id) == nullptr);
  CHECK(tree.gone == 1);
  CHECK(lost.answers == 0);
  tree.beneath.router.drop_child(kDeeper, Error{ErrorClass::kLost, Phase::kLink, "over", {}});
  REQUIRE(run_until(tree.loop, [&] { return lost.answers > 0; }));
  CHECK(lost.dead == DeadReason::kGone);
}

TEST_CASE("a hundred clients come in at once, and each is a context of its own") {
  Tree tree;
  for (int i = 0; i < 100; ++i) tree.knock();

  REQUIRE(run_until(
      tree.loop, [&] { return tree.listener->clients() == 100 && tree.root.router.routes() == 104; },
      60 * kSecond));

  for (const auto& client : tree.clients) {
    REQUIRE(client->is_up);
    CHECK(tree.root.routes->find(client->context.router().id()) != nullptr);
  }
  tree.clients.clear();
  CHECK(run_until(tree.loop, [&] { return tree.root.router.routes() == 4; }));
  CHECK(tree.gone == 100);
}

TEST_CASE("who says nothing is sent away at the deadline, and keeps only so many others waiting") {
  UnixListenerOptions options;
  options.hello_deadline = 500 * kMillisecond;
  Tree tree(options);
  std::vector<Fd> silent;
  for (std::size_t i = 0; i < kGreetingMax - 1; ++i) silent.push_back(tree.connection());
  REQUIRE(run_until(tree.loop, [&] { return tree.listener->greeting() == kGreetingMax - 1; }));
  tree.enter();
  CHECK(tree.listener->greeting() == kGreetingMax - 1);  // it did not wait for them
  silent.push_back(tree.connection());
  REQUIRE(run_until(tree.loop, [&] { return tree.listener->greeting() == kGreetingMax; }));
  Client& late = tree.knock();
  const Nanos began = tree.loop.now();
  run_until(
      tree.loop, [&] { return late.is_up; }, 100 * kMillisecond);
  CHECK_FALSE(late.is_up);

  CHECK(run_until(tree.loop, [&] { return late.is_up; }));

  CHECK(tree.loop.now() - began < 3 * kSecond);
  CHECK(run_until(tree.loop, [&] { return tree.is_closed(silent.front()); }));
}

TEST_CASE("garbage, another version, a frame that is no hello, and whoever disappears, are gone at once") {
  Tree tree;
  std::uint8_t frame[kHeaderBytes];
  encode_header(handshake_header(kHeartbeat), frame);  // an empty one, which is no heartbeat
  Buffer version(frame, frame + kHeaderBytes), no_hello = version;
  version[2] = kProtocolVersion + 1;
  encode_header(handshake_header(kShutdown), frame);
  no_hello.assign(frame, frame + kHeaderBytes);
  for (const Buffer& bytes : {Buffer(100, 'x'), version, no_hello}) {
    const Fd fd = tree.connection();
    REQUIRE(write_all(fd.get(), bytes.data(), bytes.size()));
    CHECK(run_until(tree.loop, [&] { return tree.is_closed(fd); }));
  }
  { const Fd gone = tree.connection(); }
  CHECK(run_until(tree.loop, [&] { return tree.listener->greeting() == 0; }));
  CHECK(tree.listener->clients() == 0);
  tree.enter();
}

TEST_CASE("no more clients than are allowed come in, and one that goes makes room") {
  UnixListenerOptions options;
  options.clients_max = 2;
  Tree tree(options);
  tree.enter();
  tree.enter();
  Client& third = tree.knock();
  run_until(
      tree.loop, [&] { return third.is_up; }, 100 * kMillisecond);
  CHECK_FALSE(third.is_up);

  tree.clients.front().reset();

  CHECK(run_until(tree.loop, [&] { return third.is_up; }));
}

TEST_CASE("a listener without descriptors waits, and does not spin; then it goes on") {
  Tree tree;
  Client& client = tree.knock();
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const int next = ::fcntl(0, F_DUPFD_CLOEXEC, 3);  // the lowest free number: nothing beyond may be opened
  ::close(next);
  rlimit none{rlim_t(next), before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  int rounds = 0;
  const Nanos end = tree.loop.now() + 500 * kMillisecond;
  while (tree.loop.now() < end) {
    tree.loop.run_once(100 * kMillisecond);
    ++rounds;
  }
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);

  CHECK(rounds < 50);
  CHECK_FALSE(client.is_up);
  CHECK(run_until(tree.loop, [&] { return client.is_up; }));
}

TEST_CASE("clients that are told to end do, and those that do not are cut off") {
  Tree tree;
  Client& client = tree.enter();
  const Fd silent = tree.connection();
  bool done = false;

  tree.listener->shut_down(2 * kSecond, [&] { done = true; });

  REQUIRE(run_until(tree.loop, [&] { return client.has_ended; }));
  CHECK_FALSE(client.why);
  CHECK_FALSE(done);  // it has ended, and its link is there
  REQUIRE(run_until(tree.loop, [&] { return done; }));
  CHECK(run_until(tree.loop, [&] { return client.lost.has_value(); }));
  CHECK(tree.listener->clients() == 0);
}

TEST_CASE("a client that detaches is gone for the tree, and lives") {
  Tree tree;
  Client& client = tree.enter();
  std::optional<Error> failed;
  bool done = false;

  client.context.detach([&](const Result<Done>& result) {
    done = true;
    if (!result) failed = result.error();
  });

  REQUIRE(run_until(tree.loop, [&] { return done && tree.gone == 1; }));
  CHECK_FALSE(failed);
  CHECK_FALSE(client.lost);
  CHECK_FALSE(client.has_ended);
  CHECK(run_until(tree.loop, [&] { return tree.root.router.routes() == 4; }));
}

// Ids are never given back, and the quota of the listener's link is 65,536 for ever.
TEST_CASE("five thousand clients, one after the other, cost an id each, and the next one still comes in") {
  constexpr std::size_t kVisits = 5'000;
  Tree tree;
  Header header = handshake_header(kHello);
  const Buffer hello = Hello::of_this_process(0).encode();
  header.length = std::uint32_t(hello.size());
  Buffer frame(kHeaderBytes);
  encode_header(header, frame.data());
  frame.insert(frame.end(), hello.begin(), hello.end());
  const ContextId first = tree.enter().context.router().id();
  for (std::size_t i = 0; i < kVisits; ++i) {
    CAPTURE(i);
    {
      const Fd fd = tree.connection();
      REQUIRE(write_all(fd.get(), frame.data(), frame.size()));
      REQUIRE(run_until(tree.loop, [&] { return tree.listener->clients() == 2; }));
    }
    REQUIRE(run_until(tree.loop, [&] { return tree.listener->clients() == 1; }));
  }

  Client& last = tree.enter();

  CHECK(last.context.router().id() - first < 20'000);  // ranges from above leave gaps
  CHECK(tree.above.router.granted(kDoor) < 20'000);
  std::optional<IdRange> ids;
  last.context.ids().take(3, [&](const IdRange* given, const Dead&) {
    if (given != nullptr) ids = *given;
  });
  CHECK(run_until(tree.loop, [&] { return ids.has_value(); }));
}

TEST_CASE("without an id left nobody comes in, and whoever is there stays and can do what it could") {
  EpollLoop loop;
  Folder folder;
  Router router(loop, config_of(kRoot));
  IdSource ids(router, {1, 2});
  RouteMonitor routes(router, ids);
  auto listener = UnixListener::open(loop, router, ids, routes, folder.door());
  REQUIRE(bool(listener));
  Client first(loop), second(loop), late(loop);
  for (Client* client : {&first, &second}) {
    REQUIRE(bool(join(client->context, folder.door())));
    REQUIRE(run_until(loop, [&] { return client->is_up; }));
  }

  REQUIRE(bool(join(late.context, folder.door())));

  CHECK(run_until(loop, [&] { return late.has_ended; }));
  CHECK_FALSE(late.is_up);
  CHECK((*listener)->greeting() == 0);
  CHECK((*listener)->clients() == 2);
  int answers = 0;
  router.add_handler(kForAll, Access::anyone(), [&](Incoming& message) { router.reply(message.header, {}); });
  for (Client* client : {&first, &second})
    client->context.router().call(kRoot, kForAll, {},
                                  [&](const Reply& reply) { answers += reply.dead == nullptr; });
  CHECK(run_until(loop, [&] { return answers == 2; }));
}

// --- the socket itself ---

TEST_CASE("the folder is made for us alone, the socket has mode 0600, and both are as they were afterwards") {
  Folder folder;
  const mode_t mask = ::umask(0);
  EpollLoop loop;
  Context context(loop, config_of(0), kAllIds);
  const std::string path = folder.path + "/other/door";
  {
    auto opened = UnixListener::open(loop, context.router, *context.ids, *context.routes, path);
    REQUIRE(bool(opened));
    struct stat status {};
    REQUIRE(::stat((folder.path + "/other").c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == 0700);
    REQUIRE(::lstat(path.c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == 0600);
  }
  ::umask(mask);
  CHECK(::access(path.c_str(), F_OK) != 0);
  ::rmdir((folder.path + "/other").c_str());
}

namespace {

// What comes of opening there.
std::optional<Error> error_at(const std::string& path) {
  EpollLoop loop;
  Context context(loop, config_of(0), kAllIds);
  auto opened = UnixListener::open(loop, context.router, *context.ids, *context.routes, path);
  if (opened) return std::nullopt;
  return opened.error();
}

Fd bound(const std::string& path, int type) {
  sockaddr_un address;
  REQUIRE(unix_address(path, address));
  Fd socket(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  REQUIRE(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  return socket;
}

}  // namespace

TEST_CASE(
    "a socket where nobody listens any more is replaced; one where somebody does is not, and he is named") {
  Folder folder;
  { const Fd dead = bound(folder.door(), SOCK_STREAM); }
  CHECK_FALSE(error_at(folder.door()));
  {
    const Fd living = bound(folder.door(), SOCK_STREAM);
    REQUIRE(::listen(living.get(), 1) == 0);

    const std::optional<Error> error = error_at(folder.door());

    REQUIRE(error);
    CHECK(error->error_class == ErrorClass::kRefused);
    CHECK(error->text == cat("somebody listens at ", folder.door(), " already: process ", ::getpid()));
    CHECK(::access(folder.door().c_str(), F_OK) == 0);
    // Also when he is too busy to let anybody in.
    std::vector<Fd> crowd(8);
    for (Fd& one : crowd) one = look_at_socket(folder.door()).socket;
    REQUIRE_FALSE(crowd.back());
    CHECK(error_at(folder.door()));
    EpollLoop loop;
    Client client(loop);
    const Result<Done> knocked = join(client.context, folder.door());
    REQUIRE_FALSE(bool(knocked));
    CHECK(knocked.error().error_class == ErrorClass::kResource);
  }
}

TEST_CASE("what is there and is no socket of ours stays there") {
  Folder folder;
  { const Fd file(::open(folder.door().c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)); }
  REQUIRE(error_at(folder.door()));
  CHECK(error_at(folder.door())->text.find("not a socket") != std::string::npos);
  CHECK(::unlink(folder.door().c_str()) == 0);
  REQUIRE(::symlink("nowhere", folder.door().c_str()) == 0);
  CHECK(error_at(folder.door()));
  CHECK(::unlink(folder.door().c_str()) == 0);
  {
    const Fd packets = bound(folder.door(), SOCK_SEQPACKET);
    REQUIRE(::listen(packets.get(), 1) == 0);
    CHECK(error_at(folder.door()));
    CHECK(::access(folder.door().c_str(), F_OK) == 0);
  }
}

TEST_CASE("a folder that others may enter, or that is not where it seems, is refused with the remedy") {
  Folder folder;
  const std::string inner = folder.path + "/other";
  REQUIRE(::mkdir(inner.c_str(), 0700) == 0);
  for (const mode_t mode : {0755, 0710, 0701}) {
    CAPTURE(int(mode));
    REQUIRE(::chmod(inner.c_str(), mode) == 0);
    const std::optional<Error> error = error_at(inner + "/door");
    REQUIRE(error);
    CHECK(error->remedy == cat("chmod 700 ", inner));
  }
  REQUIRE(::chmod(inner.c_str(), 0700) == 0);
  REQUIRE(::symlink("other", (folder.path + "/link").c_str()) == 0);
  const std::optional<Error> error = error_at(folder.path + "/link/door");
  REQUIRE(error);
  CHECK(error->text.find("symbolic link") != std::string::npos);
  CHECK(error_at(folder.path + "/nowhere/at/all"));
  ::rmdir(inner.c_str());
}

TEST_CASE("a path that no socket can have is an error that says how long one may be") {
  Folder folder;
  CHECK(error_at(""));
  CHECK(error_at(folder.path + "/"));
  const std::optional<Error> error = error_at(cat(folder.path, "/", std::string(108, 'x')));
  REQUIRE(error);
  CHECK(error->text.find("107 bytes") != std::string::npos);
}

TEST_CASE("a socket that somebody else has put in the place of ours is not removed") {
  Folder folder;
  EpollLoop loop;
  Context context(loop, config_of(0), kAllIds);
  {
    auto opened = UnixListener::open(loop, context.router, *context.ids, *context.routes, folder.door());
    REQUIRE(bool(opened));
    REQUIRE(::unlink(folder.door().c_str()) == 0);
    const Fd another = bound(folder.door(), SOCK_STREAM);
  }
  CHECK(::access(folder.door().c_str(), F_OK) == 0);
}

// --- who knocks in vain ---

TEST_CASE("where nothing is, or nobody listens, joining says so at once") {
  Folder folder;
  EpollLoop loop;
  Client client(loop);
  const Result<Done> missing = join(client.context, folder.door());
  REQUIRE_FALSE(bool(missing));
  CHECK(missing.error().error_class == ErrorClass::kUnreachable);
  CHECK(missing.error().text == cat("there is no ", folder.door()));
  { const Fd dead = bound(folder.door(), SOCK_STREAM); }

  const Result<Done> dead = join(client.context, folder.door());

  REQUIRE_FALSE(bool(dead));
  CHECK(dead.error().text == cat("nobody listens at ", folder.door()));
}

TEST_CASE("a listener that says nothing is given up at the deadline, and one of another version is named") {
  for (const bool speaks : {false, true}) {
    CAPTURE(speaks);
    Folder folder;
    EpollLoop loop;
    Client client(loop);
    const Fd listener = bound(folder.door(), SOCK_STREAM);
    REQUIRE(::listen(listener.get(), 1) == 0);
    REQUIRE(bool(join(client.context, folder.door(), 100 * kMillisecond)));
    const Fd end(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (speaks) {
      std::uint8_t frame[kHeaderBytes];
      encode_header(handshake_header(kHeartbeat), frame);
      frame[2] = kProtocolVersion + 1;
      REQUIRE(write_all(end.get(), frame, sizeof frame));
    }

    REQUIRE(run_until(loop, [&] { return client.has_ended; }));

    CHECK_FALSE(client.is_up);
    CHECK(client.why.has_value() == speaks);
    if (client.why) CHECK(client.why->text.find(cat("version ", kProtocolVersion + 1)) != std::string::npos);
  }
}

TEST_CASE("the listener says its version before it is told anything") {
  Tree tree;
  const Fd fd = tree.connection();
  std::uint8_t bytes[kHeaderBytes];
  IoResult result;
  // Long before an idle link would say anything of its own.
  REQUIRE(run_until(
      tree.loop,
      [&] {
        result = tree.loop.read(fd.get(), bytes, sizeof bytes);
        return result.status == IoResult::Status::kOk;
      },
      3 * kSecond));
  REQUIRE(result.bytes == kHeaderBytes);
  CHECK(bool(decode_header(bytes)));
}
