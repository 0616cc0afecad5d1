#include "tests/simulation/sim_tree.h"

#include <utility>

#include "core/assert.h"
#include "core/text.h"

namespace banyan::simulation {

namespace {

constexpr Nanos kShutdownShare = 100 * kMillisecond;  // what a level keeps of the time left
constexpr std::size_t kPromisesLookedAt = 64;         // the nearest ones; they nest

}  // namespace

// One end of a link until the router has it.
struct SimNode::Greeter final : Link::Owner {
  SimNode& child;
  const bool is_parents_end;
  std::unique_ptr<Link> link;

  Greeter(SimNode& its_child, bool parents_end) : child(its_child), is_parents_end(parents_end) {
    SimNode& owner = parents_end ? *child.parent : child;
    const int fd = parents_end ? child.down : child.up;
    link = std::make_unique<Link>(owner.loop, LinkFds{fd, fd}, *this, child.tree.options().limits,
                                  owner.router.window_budget(), !parents_end);
    link->watch_frames([&tree = child.tree, at = link.get()](bool outgoing, const Header& header) {
      if (outgoing && !header.has(kControl) && tree.on_data_sent) tree.on_data_sent(*at, header);
    });
  }

  void on_frame(Link& from, const Header& header, Bytes payload) override {
    const Handle expected = is_parents_end ? kHello : kIdentity;
    if (!header.has(kControl) || header.handle != expected)
      return from.fail(Error{ErrorClass::kProtocol, Phase::kHello, "not what begins a link", {}});
    if (is_parents_end) {
      child.tree.on_hello(child, header, payload);
    } else {
      child.tree.on_identity(child, payload);
    }
  }
  void on_sent(Link&, std::uint32_t, const Header&) override {}
  void on_down(Link&, const Error& error, FrameQueue) override {
    if (is_parents_end) {
      child.lost = error.text;
    } else {
      child.link_ended = error.text;
      child.tree.end(child);
    }
  }
};

// --- a node ---

SimNode::SimNode(SimTree& its_tree, SimNode* its_parent, std::uint32_t its_index)
    : tree(its_tree),
      loop(its_tree.world_.add_loop()),
      parent(its_parent),
      index(its_index),
      depth(its_parent == nullptr ? 0 : its_parent->depth + 1),
      router(loop, its_tree.options_.router) {}

SimNode::~SimNode() = default;

bool SimNode::is_beneath(const SimNode& other) const {
  for (const SimNode* at = this; at != nullptr; at = at->parent)
    if (at == &other) return true;
  return false;
}

bool SimNode::is_tainted() const {
  for (const SimNode* at = this; at != nullptr; at = at->parent)
    if (at->is_hostile) return true;
  return false;
}

bool SimNode::is_connected() const {
  for (const SimNode* at = this; at != nullptr; at = at->parent)
    if (!at->is_alive || !at->is_up || at->is_ending || !at->is_wire_whole) return false;
  return true;
}

SimNode& SimNode::common_ancestor(SimNode& other) {
  SimNode* one = this;
  SimNode* two = &other;
  while (one != two) {
    if (one->depth >= two->depth)
      one = one->parent;
    else
      two = two->parent;
  }
  return *one;
}

// --- the tree ---

SimTree::SimTree(std::uint64_t seed, const SimTreeOptions& options) : world_(seed), options_(options) {
  nodes_.push_back(std::make_unique<SimNode>(*this, nullptr, 0));
  SimNode& root = *nodes_.front();
  root.ids.emplace(root.router, kAllIds, options_.ids_per_link);
  root.routes.emplace(root.router, *root.ids);
  root.is_known = root.is_up = true;
  by_id_[0] = &root;
}

SimTree::~SimTree() {
  if (!nodes_.empty()) release_root();
}

std::unique_ptr<SimNode> SimTree::release_root() {
  for (auto& node : nodes_) world_.kill(node->loop);
  while (nodes_.size() > 1)
    nodes_.pop_back();  // a child before its parent, whose end of their link it may hold
  std::unique_ptr<SimNode> root = std::move(nodes_.front());
  nodes_.clear();
  return root;
}

SimNode* SimTree::find(ContextId id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

SimNode& SimTree::grow(SimNode& parent, const SimWire& wire) {
  ASSERT(parent.is_up && parent.is_alive);
  nodes_.push_back(std::make_unique<SimNode>(*this, &parent, std::uint32_t(nodes_.size())));
  SimNode& child = *nodes_.back();
  parent.children.push_back(&child);
  std::tie(child.down, child.up) = world_.make_pair(parent.loop, child.loop, wire);
  child.doorman_ = std::make_unique<SimNode::Greeter>(child, true);
  child.greeter_ = std::make_unique<SimNode::Greeter>(child, false);
  Hello hello;
  hello.architecture = hello.kernel = hello.host_name = "simulated";
  hello.nonce = child.index;
  child.greeter_->link->send_control(handshake_header(kHello), hello.encode());
  return child;
}

void SimTree::on_hello(SimNode& child, const Header&, Bytes payload) {
  if (!Hello::decode(payload))
    return child.doorman_->link->fail(Error{ErrorClass::kProtocol, Phase::kHello, "no hello", {}});
  child.parent->ids->take_for_child([this, &child](const IdRange* ids, const Dead& dead) {
    if (!child.doorman_->link || !child.doorman_->link->is_open()) return;
    if (ids != nullptr) return welcome(child, *ids);
    child.lost = cat("no id for it: ", dead.text);
    child.doorman_->link->close();
  });
}

// Nobody else's, and nobody was promised them who is not above.
void SimTree::check_ids(const SimNode& child, IdRange ids) {
  for (std::uint32_t i = 0; i < ids.count; ++i)
    if (const SimNode* other = find(ids.first + i))
      on_wrong_ids(
          cat("id ", ids.first + i, " is given to node ", child.index, " and was node ", other->index, "'s"));
  auto at = promised_.upper_bound(ids.first + (ids.count - 1));
  for (std::size_t looked = 0; at != promised_.begin() && looked < kPromisesLookedAt; ++looked) {
    --at;
    const auto& [first, promise] = *at;
    if (first + (promise.count - 1) < ids.first) continue;
    if (!child.is_beneath(*promise.node))
      on_wrong_ids(cat("ids from ", ids.first, " are given to node ", child.index,
                       " and were promised to node ", promise.node->index));
  }
}

// As Runner::Job does it.
void SimTree::welcome(SimNode& child, IdRange ids) {
  SimNode& parent = *child.parent;
  if (on_wrong_ids) check_ids(child, ids);
  Identity identity;
  identity.id = ids.first;
  identity.first_id = ids.first + 1;
  identity.id_count = ids.count - 1;
  identity.ancestors = parent.router.config().ancestors;
  identity.ancestors.insert(identity.ancestors.begin(), parent.router.id());
  identity.name = cat("node ", child.index);
  identity.sideways = parent.router.config().sideways;
  identity.message_max = parent.router.config().inbox.message_max;
  identity.limits = options_.limits;
  child.id = identity.id;
  child.is_known = true;
  by_id_[child.id] = &child;
  if (identity.id_count > 0) promised_[identity.first_id] = {identity.id_count, &child};

  std::unique_ptr<Link> link = std::move(child.doorman_->link);
  link->send_control(handshake_header(kIdentity), identity.encode());
  parent.router.add_child(std::move(link), identity.id, [this, &child](const Error& error) {
    child.lost = error.text;
    if (on_link_down) on_link_down(child, false, error);
  });
  parent.router.grant(identity.id, {identity.first_id, identity.id_count});
  parent.routes->announce(identity.id, identity.name);
}

// As the agent does it.
void SimTree::on_identity(SimNode& child, Bytes payload) {
  const Result<Identity> identity = Identity::decode(payload);
  if (!identity) return end(child);
  RouterConfig config = options_.router;
  const RouterConfig told = identity->router_config();
  config.id = told.id;
  config.ancestors = told.ancestors;
  config.sideways = told.sideways;
  config.inbox.message_max = told.inbox.message_max;
  child.router.configure(std::move(config));
  child.greeter_->link->set_limits(identity->limits);
  child.ids.emplace(child.router, IdRange{identity->first_id, identity->id_count}, options_.ids_per_link);
  child.routes.emplace(child.router, *child.ids);
  child.router.on_shutdown = [this, &child](Nanos remaining) {
    child.is_ending = true;
    note_gone(child);
    child.router.shut_down_children(std::max<Nanos>(remaining - kShutdownShare, 0));
    child.loop.after(Nanos(world_.below(20)) * kMillisecond, [this, &child] { end(child); });
  };
  child.is_up = true;
  child.up_since = world_.now();
  if (on_up) on_up(child);
  child.router.set_parent(std::move(child.greeter_->link), [this, &child](const Error& error) {
    child.link_ended = error.text;
    if (on_link_down) on_link_down(child, true, error);
    end(child);
  });
}

// It ends by itself: soon, and with all it has.
void SimTree::end(SimNode& node) {
  node.is_ending = true;
  note_gone(node);
  const auto delay = Nanos(world_.below(dead_with_parent_delay_max_ms + 1)) * kMillisecond;
  node.loop.after(delay, [this, &node] { to_kill_.push_back(&node); });
}

void SimTree::note_gone(SimNode& node) {
  if (node.gone_since == 0) node.gone_since = world_.now();
}

void SimTree::kill(SimNode& node) {
  note_gone(node);
  node.is_alive = false;
  world_.kill(node.loop);
}

void SimTree::cut(SimNode& node, bool silently) {
  if (!node.is_alive || !node.is_wire_whole || !node.link_ended.empty()) return;
  const Link* link = node.is_up ? node.router.parent_link() : node.greeter_->link.get();
  if (link == nullptr || !link->is_open()) return;
  note_gone(node);
  node.is_wire_whole = false;
  if (silently)
    world_.cut_silently(node.loop, node.up);
  else
    world_.cut(node.loop, node.up);
}

void SimTree::garble(SimNode& node, Bytes bytes) {
  Link* link = node.is_up ? node.router.parent_link() : nullptr;
  if (!node.is_alive || link == nullptr || !link->is_open()) return;
  const iovec part{const_cast<std::uint8_t*>(bytes.data()), bytes.size()};
  node.loop.write(node.up, &part, 1);
}

bool SimTree::step(Nanos limit) {
  const bool did = world_.step(limit);
  for (SimNode* node : std::exchange(to_kill_, {}))
    if (node->is_alive) kill(*node);
  return did;
}

void SimTree::run_for(Nanos duration) {
  const Nanos limit = world_.now() + duration;
  while (step(limit)) {
  }
  world_.run_for(limit - world_.now());
}

}  // namespace banyan::simulation
