// A device in front of another one: what is about to be overwritten goes to an undo file first.
//
// Writes are saved as they are started and let through together, when the file is durable. A write
// whose old bytes cannot be saved fails, and nothing is written.
#pragma once

#include <memory>
#include <vector>

#include "repair/undo_file.hh"

namespace pleach::repair {

class saving_device final : public io::device {
 public:
  saving_device(std::unique_ptr<io::device> below, undo_writer& undo);
  ~saving_device() override;

  u64 size() const override { return below_->size(); }
  i64 read_now(u64 offset, bytes out) override { return below_->read_now(offset, out); }
  const char* name() const override { return below_->name(); }
  status attach(int event_fd) override {
    event_fd_ = event_fd;
    return below_->attach(event_fd);
  }
  void submit() override;
  u32 reap() override;

 private:
  struct forward {
    io::request r;
    io::request* of = nullptr;
    saving_device* owner = nullptr;
    bool refused = false;
  };

  void start(io::request& r) override;
  bool save(const io::request& r);
  void let_through(forward& f);
  static void done(io::request& r);

  std::unique_ptr<io::device> below_;
  undo_writer& undo_;
  std::vector<std::unique_ptr<forward>> all_;
  std::vector<forward*> free_, waiting_, refused_;
  int event_fd_ = -1;
};

}  // namespace pleach::repair
