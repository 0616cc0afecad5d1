#include "tests/simulation/hostile_node.h"

#include <algorithm>

#include "core/msgpack.h"
#include "core/text.h"

namespace banyan::simulation {

// Half of what is sent is what a link has to accept, so that the other half is heard at all.
void HostileNode::attack() {
  if (!node_.is_alive || !node_.is_up) return;
  ++scenario_.outcome_.attacks;
  Link* link = node_.router.parent_link();
  if (!node_.children.empty() && scenario_.one_in(4)) {
    const SimNode& child = *node_.children[scenario_.below(node_.children.size())];
    if (child.is_up && child.is_alive) link = node_.router.link_to(child.id);
  }
  if (link == nullptr || !link->is_open()) return;
  switch (scenario_.below(24)) {
    case 0:
    case 1:
    case 2:
    case 3:
      return forge_message(*link);
    case 4:
      return announce(*link);
    case 5:
    case 6:
    case 7:
      return end_routes(*link);
    case 8:
    case 9:
    case 10:
      return ask_for_ids(*link);
    case 11:
    case 12:
      return forge_answer(*link, false);
    case 13:
    case 14:
      return forge_answer(*link, true);
    case 15:
    case 16:
      return forge_cancel(*link);
    case 17:
    case 18:
      return forge_credit(*link);
    case 19:
      return send_what_is_not_its_to_say(*link);
    case 20:
    case 21:
      return send_pieces(*link);
    case 22:
      return send_twice(*link);
    default:
      if (scenario_.one_in(4)) be_garbled();
  }
}

void HostileNode::send_to(Link& link, Header header, Bytes payload) {
  scenario_.note("liar ", node_.id, " sends: ", describe(header));
  if (header.has(kControl)) return link.send_control(header, payload);
  header.length = std::uint32_t(payload.size());
  link.send(0, header, payload);
}

void HostileNode::send_control(Link& link, Handle handle, Bytes payload, Handle reply_to) {
  Header header;
  header.flags = kControl | kFirst | kLast;
  header.source = header.authority = node_.id;
  const SimNode* above = node_.parent;
  header.destination = &link == node_.router.parent_link() ? above->id : any_id(true);
  header.handle = handle;
  header.reply_to = reply_to;
  send_to(link, header, payload);
}

ContextId HostileNode::any_id(bool prefer_own) {
  if (prefer_own && scenario_.one_in(2)) return node_.id;
  static constexpr ContextId kOdd[] = {0, 0xffffffff, 12'345'678};
  if (scenario_.one_in(6)) return kOdd[scenario_.below(3)];
  const auto& nodes = scenario_.tree_->nodes();
  const SimNode& other = *nodes[scenario_.below(nodes.size())];
  // Or one that was promised to it, and is given to nobody yet.
  if (scenario_.one_in(4)) return other.id + 1 + ContextId(scenario_.below(kFirstGrant));
  return other.id;
}

void HostileNode::forge_message(Link& link) {
  Header header;
  header.flags = kFirst | kLast;
  // Of an id beneath it the first hop asks nothing more: then it is the authority that must be checked.
  header.source = scenario_.one_in(3) ? node_.id + 1 + ContextId(scenario_.below(kFirstGrant)) : any_id(true);
  header.authority = any_id(false);
  header.destination = any_id(false);
  static constexpr Handle kHandles[] = {kEcho, kSink, kFromAbove, kCancel, kExec, kIsDead, 77'777};
  header.handle = kHandles[scenario_.below(7)];
  header.stream = StreamId(scenario_.below(6));
  if (scenario_.one_in(2)) header.reply_to = 1'000 + scenario_.below(1u << 20);
  send_to(link, header,
          Scenario::stamped({Scenario::kForged, node_.index, std::uint32_t(++sent_)},
                            Scenario::kStampBytes + scenario_.below(2'000)));
}

void HostileNode::announce(Link& link) {
  const ContextId parent = scenario_.one_in(2) ? node_.id : any_id(false);
  const ContextId own = node_.id + 1 + ContextId(scenario_.below(kFirstGrant));
  // A few are allowed: ids of its own that are nobody's.
  const ContextId id = scenario_.one_in(2) ? own : any_id(false);
  const std::string name(scenario_.one_in(8) ? 300 : 5, 'x');
  send_control(link, kAddRoute, Packer().array(3).number(id).number(parent).text(name).take());
}

void HostileNode::end_routes(Link& link) {
  const std::size_t count = scenario_.one_in(10) ? 700 : 1 + scenario_.below(4);
  Packer out;
  out.array(std::uint32_t(count));
  for (std::size_t i = 0; i < count; ++i) out.number(any_id(false));
  send_control(link, kDelRoute, out.take());
}

void HostileNode::ask_for_ids(Link& link) {
  static constexpr std::uint64_t kCounts[] = {0, 1, 16, 64, 1'000, kAskedMax, kAskedMax + 1, 0xffffffff};
  const std::size_t times = scenario_.one_in(4) ? 200 : 1;
  for (std::size_t i = 0; i < times; ++i)
    send_control(link, kAllocateId, Packer().array(1).number(kCounts[scenario_.below(8)]).take(),
                 1'000 + scenario_.below(1u << 20));
}

// To somebody who waits for another.
void HostileNode::forge_answer(Link& link, bool is_dead) {
  const auto& calls = scenario_.calls_;
  for (int tries = 0; tries < 10 && !calls.empty(); ++tries) {
    const Scenario::Call& call =
        *calls[calls.size() - 1 - scenario_.below(std::min<std::size_t>(calls.size(), 30))];
    if (call.answers > 0 || call.caller == &node_) continue;
    const bool leads_down = call.callee != nullptr && call.callee->is_beneath(*call.caller);
    Header header;
    header.source = scenario_.one_in(2) ? node_.id : any_id(true);
    header.authority = header.source;
    header.destination = call.caller->id;
    header.handle = is_dead && !leads_down ? 1'000 + scenario_.below(1u << 20) : call.call;
    if (is_dead) {
      header.flags = kControl | kFirst | kLast;
      header.reply_to = kIsDead;
      return send_to(link, header, Packer().array(2).number(std::uint8_t(6)).text("a lie").take());
    }
    header.flags = kFirst | kLast;
    header.stream = kReplyStream;
    return send_to(link, header, Scenario::stamped({call.number, node_.index, 0}, 20));
  }
}

void HostileNode::forge_cancel(Link& link) {
  const auto& calls = scenario_.calls_;
  if (calls.empty()) return;
  const Scenario::Call& call =
      *calls[calls.size() - 1 - scenario_.below(std::min<std::size_t>(calls.size(), 30))];
  Header header;
  header.source = header.authority = scenario_.one_in(2) ? node_.id : any_id(true);
  header.destination = call.id;
  header.handle = kCancel;
  header.flags = kFirst | kLast;
  if (scenario_.one_in(2)) {
    header.flags |= kControl;
  } else {
    header.reply_to = 1'000 + scenario_.below(1u << 20);
  }
  send_to(link, header, Packer().array(1).number(call.call).take());
}

void HostileNode::forge_credit(Link& link) {
  static constexpr std::uint64_t kAmounts[] = {1, 64 << 10, 1ull << 39, UINT64_MAX};
  Header header;
  header.flags = kControl | kFirst | kLast;
  header.source = header.authority = scenario_.one_in(2) ? node_.id : any_id(true);
  header.destination = any_id(false);
  if (scenario_.one_in(2)) {
    header.handle = kStreamCredit;
    return send_to(
        link, header,
        pack_credit(StreamId(scenario_.below(20)), kAmounts[scenario_.below(4)], scenario_.one_in(2)));
  }
  header.handle = kStreamBlocked;
  send_to(link, header, Packer().array(1).number(scenario_.below(20)).take());
}

void HostileNode::send_what_is_not_its_to_say(Link& link) {
  switch (scenario_.below(6)) {
    case 0:
      return send_control(link, kShutdown, Packer().array(1).number(0).take());
    case 1:
      return send_control(link, kIntroduce, Packer().array(2).number(node_.id).number(any_id(false)).take());
    case 2:
      for (int i = 0; i < 500; ++i) {
        Header header;
        header.flags = kControl | kFirst | kLast;
        header.handle = kHeartbeat;
        link.send_control(header, Packer().array(1).number(std::uint64_t(i)).take());
      }
      return;
    case 3:
      return send_control(link, kAddRoute, Buffer(std::size_t(scenario_.below(40)), 0xc1));
    case 4: {
      Header header;
      header.flags = kControl | kFirst | kLast;
      header.handle = kLinkCredit;
      return send_to(link, header, Packer().array(1).number(scenario_.one_in(2) ? 0 : UINT64_MAX).take());
    }
    default:
      // A shutdown from further away than the parent.
      Header header;
      header.flags = kControl | kFirst | kLast;
      header.source = header.authority = node_.id;
      header.destination = any_id(false);
      header.handle = scenario_.one_in(2) ? kShutdown : kDelRoute;
      return send_to(link, header, Packer().array(1).number(0).take());
  }
}

// Beginnings without ends, ends without beginnings, lengths that are not kept.
void HostileNode::send_pieces(Link& link) {
  for (std::uint64_t i = 1 + scenario_.below(6); i > 0; --i) {
    Header header;
    header.source = header.authority = node_.id;
    header.destination = any_id(false);
    header.handle = scenario_.one_in(2) ? kEcho : kSink;
    header.stream = 2'000'000 + StreamId(scenario_.below(4));
    if (scenario_.one_in(2)) header.reply_to = 1'000 + scenario_.below(1u << 20);
    static constexpr std::uint8_t kFlags[] = {0, kFirst, kFirst, kLast, kLast | kAborted};
    header.flags = kFlags[scenario_.below(5)];
    Buffer payload(header.has(kAborted) ? 0 : kLengthPrefixBytes + scenario_.below(3'000));
    if (header.has(kFirst)) {
      static constexpr std::uint64_t kLengths[] = {0, 100, 5'000, 16 << 20, 1ull << 31, UINT64_MAX};
      store_le(payload.data(), kLengths[scenario_.below(6)]);
    }
    if (header.flags == kFirst && scenario_.one_in(4)) header.flags |= kLast;
    if (!link.is_open()) return;
    send_to(link, header, payload);
  }
}

// The same call, with the same place for its answer, again and again.
void HostileNode::send_twice(Link& link) {
  Header header;
  header.flags = kFirst | kLast;
  header.source = header.authority = node_.id;
  header.destination = any_id(false);
  header.handle = kEcho;
  header.reply_to = 5'000;
  for (int i = 0; i < 3; ++i)
    send_to(link, header, Scenario::stamped({Scenario::kForged, node_.index, 0}, 50));
}

void HostileNode::be_garbled() {
  Buffer bytes(1 + scenario_.below(200));
  for (std::uint8_t& byte : bytes) byte = std::uint8_t(scenario_.below(256));
  scenario_.note("liar ", node_.id, " is garbled");
  scenario_.tree_->garble(node_, bytes);
}

}  // namespace banyan::simulation
