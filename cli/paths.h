// cli/paths.h -- the contexts of paths such as web1/local: hops are started once, shared by all that lies
// beneath them, and ended after the last of it.
//
// The first of a path is reached as Reach does; what lies beneath is started by the context above it. Whoever
// is beneath a hop that fails or is lost is told so, with the hop's name.
//
// Thread: the loop's. All that is given outlives it.
#pragma once

#include <list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "cli/reach.h"
#include "cli/relay.h"
#include "parent/remote_runner.h"

namespace banyan::cli {

class Paths {
 public:
  using Id = std::uint64_t;  // of one who uses a context

  // `relay`: what ssh at hops wants.
  Paths(Loop& loop, Router& router, Runner& runner, Reach& reach, Becoming& becoming,
        const RelayParts& relay);
  Paths(const Paths&) = delete;
  Paths& operator=(const Paths&) = delete;
  ~Paths();

  // What will be started: then it is known which contexts will have to reach others themselves, and those get
  // the image that can. Before the first start().
  void expect(const std::vector<Target>& targets);

  // As Reach::start. The context may be there already, for somebody else: then `record` stays empty.
  Id start(const Target& target, Runner::OnUp on_up, Runner::OnLost on_lost, WayRecord* record = nullptr);
  // On its way: ends it as far as nobody else needs it, and on_up hears kCancelled. Otherwise no effect.
  void cancel(Id id);
  // Needed no more by this one. The last one ends it; `done` when nothing of it is left, or others use it.
  void leave(Id id, Nanos within, Loop::Task done);

  Phase phase_of(Id id) const;
  // What ssh goes through on its way to the first of the path: ProxyJump's hosts. Also when it has failed.
  std::vector<std::string> jumps_of(Id id) const;
  // It waits for its turn at a crowded server.
  bool is_waiting(Id id) const;
  // Those on their way that cost nothing at the moment (see Reach::is_idle). Looks at every one.
  std::size_t idle() const;
  // The contexts it lies beneath, the first of the path first. REQUIRES: it is up.
  std::vector<Child> hops_of(Id id) const;
  // The path of a context; "" for one that is not of ours.
  std::string name_of(ContextId context) const;

 private:
  using NodeId = std::uint64_t;
  struct Node {  // one context
    Target target;
    Id hop = 0;  // our use of the one above; 0: that is the root
    WayRecord* record = nullptr;
    std::list<Id> users;
    Nanos began = 0;    // in Secrets::machine_time(): a person's time is nobody's here
    Reach::Id way = 0;  // beneath the root
    ContextId at = 0;   // where it is started; 0: its hop is not up yet
    RemoteRunner::StartId start = 0;
    Relay::Id relay = 0;                       // by ssh there
    std::shared_ptr<BecomeAnswerer> answerer;  // of the start; may be null
    std::optional<Child> child;
    std::optional<Error> failed;  // waits for the hop to say why
    Loop::TimerId timer = 0;
    std::string not_entered;  // why a container's namespaces are not; empty: nobody has tried yet
    bool is_lost = false, is_cancelled = false;
    bool fell_with_hop = false;      // its failure or loss is that of the hop
    bool hop_fell_with_its = false;  // and that of the hop is that of one further up
    bool on_terminal = false;        // of a sudo: it did not do without
    bool no_second_try = false;      // of a wrong guess: it was made, or is not wanted any more
  };
  struct User {
    NodeId node = 0;
    NodeId beneath = 0;  // whose hop it is for this one; 0: for somebody else
    bool is_told = false;
    Runner::OnUp on_up;
    Runner::OnLost on_lost;
  };

  Id use(const Target& target, NodeId beneath, Runner::OnUp on_up, Runner::OnLost on_lost, WayRecord* record);
  ImageKind kind_of(const Target& target) const;
  NodeId node_of(const Target& target, WayRecord* record);
  void start_at(NodeId id, ContextId at, std::string_view architecture);
  bool start_tunnel(NodeId id);
  void on_up(NodeId id, const Result<Child>& child);
  void on_lost(NodeId id, const Error& error);
  void on_hop_gone(NodeId id, const Target& hop, Error error);
  void pass_blame(const Node& node);
  void tell_up(Id id);
  void fail(NodeId id, const Error& error);
  void end(NodeId id, Nanos within, Loop::Task done);
  void forget(NodeId id);
  const Node& top_of(const Node& node) const;

  Loop& loop_;
  Router& router_;
  Runner& runner_;
  Reach& reach_;
  Becoming& becoming_;
  const Secrets& secrets_;
  RemoteRunner remote_;
  Relay relay_;
  const Nanos connect_timeout_;  // for each target in all; 0: none
  std::map<NodeId, Node> nodes_;
  std::map<std::string, NodeId> by_name_;  // those that may be used anew
  std::set<std::string> hops_;             // that reach others through transports, or have such beneath them
  std::map<Id, User> users_;
  std::map<Id, Reach::Id> ways_;  // of each that was ever started for somebody: how the first of its path is
  std::uint64_t next_ = 1;
  Alive alive_;
};

}  // namespace banyan::cli
