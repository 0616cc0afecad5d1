// parent/transport_job.h -- a child at the far end of a transport: the dialogue with stage 0, the phases that
// the transport tells of, and what its complaints mean.
//
// Part of the Runner of programs and hops; the agent does without.
#pragma once

#include <string>

#include "parent/back_channel.h"
#include "parent/handshake.h"
#include "parent/runner_job.h"
#include "parent/transport_terminal.h"

namespace banyan {

class Runner::TransportJob final : public Runner::Job {
 public:
  TransportJob(Runner& runner, StartId id, Recipe recipe, OnUp on_up, OnLost on_lost);
  ~TransportJob() override;

  void begin() override;

 private:
  void on_carrier_phase(Phase phase) override;
  void on_carrier_asks(bool asks) override;
  void on_carrier_text(std::string_view text) override;
  void on_carrier_end(const Carrier::Ending& ending) override;
  Result<std::unique_ptr<Carrier>> start_carrier(Fd far_end) override;
  void close_channel() override;
  void note_phase(Phase phase) override;
  Error explained(Error error) const override;
  Error cause_of_loss() const override;

  Result<std::unique_ptr<Carrier>> start_process(Fd far_end);
  Result<Done> open_back_channel();
  std::string in_place(std::string text) const;
  void talk(Ready ready);  // the dialogue with stage 0
  void advance();          // after each of its steps
  void write_upload();
  void unwatch();
  void note_shell();
  const Symptom* complaint(std::string_view& line) const;
  bool is_entering() const { return recipe_.boot == Recipe::Boot::kNamespaces && !is_up(); }

  Loop::WatchId channel_watch_ = 0;
  std::unique_ptr<Handshake> handshake_;
  Buffer upload_;
  std::size_t uploaded_ = 0;
  bool waiting_for_room_ = false;
  bool channel_ended_ = false;
  bool is_obtaining_ = false;  // the image
  const Recipe::Extras extra_{recipe_.extra()};
  std::unique_ptr<Answerer> elsewhere_;  // answers what the transport's processes ask, if that is not ours
  std::unique_ptr<BackChannel> back_channel_;
  std::unique_ptr<TransportTerminal> terminal_;
  std::optional<PrivateFile> file_;
  Nanos asked_since_ = 0;  // since when a person is asked
  Nanos entered_ = 0;      // when the phase began, or went on after a question
  Nanos phase_left_ = 0;   // of it, while a question is open: questions do not lengthen it
  AsideFilter asides_;
};

}  // namespace banyan
