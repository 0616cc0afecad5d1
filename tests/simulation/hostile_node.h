// tests/simulation/hostile_node.h -- a context that lies: it routes like any other, and sends beside that
// whatever might do harm, to its parent and to its children.
//
// It knows everything: which ids there are, which calls wait for what. Only handles that its victims may
// rely on to be unknown it does not use (Router::on_dead_message, where a way leads up).
#pragma once

#include "tests/simulation/scenario.h"

namespace banyan::simulation {

class HostileNode {
 public:
  HostileNode(Scenario& scenario, SimNode& node) : scenario_(scenario), node_(node) {}

  void attack();
  const SimNode& node() const { return node_; }

 private:
  void send_to(Link& link, Header header, Bytes payload);
  void send_control(Link& link, Handle handle, Bytes payload, Handle reply_to = kNoReply);
  void forge_message(Link& link);
  void announce(Link& link);
  void end_routes(Link& link);
  void ask_for_ids(Link& link);
  void forge_answer(Link& link, bool is_dead);
  void forge_cancel(Link& link);
  void forge_credit(Link& link);
  void send_what_is_not_its_to_say(Link& link);
  void send_pieces(Link& link);
  void send_twice(Link& link);
  void be_garbled();
  ContextId any_id(bool prefer_own);

  Scenario& scenario_;
  SimNode& node_;
  std::uint64_t sent_ = 0;
};

}  // namespace banyan::simulation
