#include "transports/connector/way.h"

#include <fcntl.h>

#include <utility>

#include "core/text.h"

namespace banyan::connector {

Way::Way(Loop& loop, Resolver& resolver, KeyRing& ring, SessionOrder order, Fd channel, Owner& owner)
    : loop_(loop),
      resolver_(resolver),
      ring_(ring),
      order_(std::move(order)),
      owner_(owner),
      channel_(std::move(channel)) {}

// From the far end: nobody is left without what it runs over.
Way::~Way() {
  over_ = true;
  while (!sessions_.empty()) sessions_.pop_back();
  if (channel_) loop_.close(channel_.release());
  if (next_socket_) loop_.close(next_socket_.release());
}

void Way::start() {
  start_next(Fd());
}

bool Way::is_last(const Session& session) const {
  return sessions_.size() == length() && sessions_.back().get() == &session;
}

void Way::start_next(Fd through) {
  const std::size_t at = sessions_.size();
  const bool is_target = at == hops().size();
  Leg leg;
  leg.through = std::move(through);
  if (at > 0) leg.through_name = hops()[at - 1].name;
  SessionOrder order;
  order.id = order_.id;
  order.settings = is_target ? order_.settings : hops()[at];
  order.settings.hops.clear();
  Fd channel;
  if (is_target) {
    order.command = order_.command;
    channel = std::move(channel_);
  } else {
    const SessionSettings& next = at + 1 == hops().size() ? order_.settings : hops()[at + 1];
    leg.onward = Onward{next.host, next.port};
    Result<FdPair> pair = make_socketpair();
    if (!pair) return finish({.id = id(), .error = pair.error()});
    channel = std::move(pair->first);
    next_socket_ = std::move(pair->second);
    for (const Fd* fd : {&channel, &next_socket_}) ::fcntl(fd->get(), F_SETFL, O_NONBLOCK);
  }
  sessions_.push_back(std::make_unique<Session>(loop_, resolver_, ring_, std::move(order), std::move(channel),
                                                static_cast<Session::Owner&>(*this), std::move(leg)));
  sessions_.back()->start();
}

void Way::answer(SessionAnswer answer) {
  sessions_.back()->answer(std::move(answer));  // the only one that is not past its login
}

void Way::on_phase(Session&, Phase phase) {
  if (!over_) owner_.on_phase(*this, phase);
}

void Way::on_text(Session&, std::string_view text) {
  if (!over_) owner_.on_text(*this, text);
}

void Way::on_question(Session&, SessionQuestion question) {
  question.session = std::uint32_t(sessions_.size() - 1);
  owner_.on_question(*this, std::move(question));
}

void Way::on_refused(Session&) {
  owner_.on_refused(*this);
}

// Also if the next one fails at once: nothing is destroyed before the owner does so.
void Way::on_open(Session&) {
  start_next(std::move(next_socket_));
}

Error Way::named(const Session& session, Error error) const {
  for (std::size_t i = 0; i < sessions_.size() && i < hops().size(); ++i)
    if (sessions_[i].get() == &session) error.text = cat("jump ", hops()[i].name, ": ", error.text);
  return error;
}

void Way::on_end(Session& session, SessionEnd end) {
  if (over_) return;
  if (is_last(session)) {
    // It ended because what it ran over did.
    if (end.error && broken_) {
      broken_->phase = end.error->phase;
      end.error = std::move(*broken_);
    }
    return finish(std::move(end));
  }
  if (sessions_.back().get() == &session) {
    if (!end.error)
      end.error = Error{ErrorClass::kLost, Phase::kConnect, "the tunnel was closed before it was open", {}};
    end.error = named(session, std::move(*end.error));
    return finish(std::move(end));
  }
  // Those behind it read what has come, and then the end; in order, so that the first word of it counts.
  if (end.error && !broken_) broken_ = named(session, std::move(*end.error));
}

void Way::finish(SessionEnd end) {
  if (std::exchange(over_, true)) return;
  if (channel_) loop_.close(channel_.release());
  owner_.on_end(*this, std::move(end));
}

}  // namespace banyan::connector
