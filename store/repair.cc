// repair_store: the repairer on the device, then what it found, through an open store.
#include "pleach/repair.hh"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "repair/repairer.hh"
#include "repair/saving_device.hh"
#include "store/state.hh"

namespace pleach {

using store_layer::core;

namespace {

std::unexpected<error> refuse(errc code, std::string message) {
  return internal::refuse(code, std::move(message));
}

/// Records on their way to lost+found, in a file without a name: there may be many.
class record_file {
 public:
  record_file() : file_(std::tmpfile()) {}
  record_file(const record_file&) = delete;
  ~record_file() {
    if (file_ != nullptr) std::fclose(file_);
  }
  bool add(const repair::lost_record& r) {
    return file_ != nullptr && put(r.tree) && put(r.key) && put(r.value) &&
           std::fwrite(&r.block, sizeof r.block, 1, file_) == 1;
  }
  void rewind() {
    if (file_ != nullptr) std::rewind(file_);
  }
  bool next(repair::lost_record& r) {
    return file_ != nullptr && get(r.tree) && get(r.key) && get(r.value) &&
           std::fread(&r.block, sizeof r.block, 1, file_) == 1;
  }

 private:
  bool put(const std::string& s) {
    const u64 n = s.size();
    return std::fwrite(&n, sizeof n, 1, file_) == 1 && std::fwrite(s.data(), 1, n, file_) == n;
  }
  bool get(std::string& s) {
    u64 n = 0;
    if (std::fread(&n, sizeof n, 1, file_) != 1) return false;
    s.resize(n);
    return std::fread(s.data(), 1, n, file_) == n;
  }

  std::FILE* file_;
};

/// One repair of one store.
class session {
 public:
  session(const std::string& path, const repair_options& o) : path_(path), options_(o) {}

  std::expected<repair_report, error> run() {
    if (auto done = offline(); !done) return std::unexpected(done.error());
    // While something is left the bitmaps are not to be trusted: nothing may be allocated, and
    // pages whose records would have to be saved first stay as they are.
    if (journal_.left != 0)
      for (const std::string& p : journal_.postponed)
        journal_.leave(p, "its records can be saved when all else is repaired");
    if (journal_.left == 0 && (journal_.kept != 0 || !trees_.empty()))
      if (auto done = online(); !done) return std::unexpected(done.error());
    if (journal_.left == 0 && !journal_.postponed.empty()) {
      journal_.losses_saved = true;
      if (auto done = offline(); !done) return std::unexpected(done.error());
    }
    if (undo_)
      if (status s = undo_->seal(); !s)
        return refuse(s.error(), fmt::format("repairing {}: the undo file {}: {}", path_,
                                             options_.undo_file, sentence_of(s.error())));
    report_.repaired = journal_.repaired;
    report_.left = journal_.left;
    report_.given_up = journal_.given_up;
    return report_;
  }

 private:
  std::expected<std::unique_ptr<io::device>, error> open() {
    io::open_options oo;
    oo.kind = internal::backend_of(options_.device);
    auto dev = io::open_device(path_, oo, sm::system_environment());
    if (!dev)
      return refuse(dev.error(), fmt::format("repairing {}: {}", path_, sentence_of(dev.error())));
    if (options_.undo_file.empty()) return std::move(*dev);
    if (!undo_) {
      undo_ = std::make_unique<repair::undo_writer>();
      u8 uuid[16] = {};
      {
        sm::reactor loop(sm::system_environment());
        loop.add_poller(**dev);
        if (auto v = read_volume(loop, **dev)) std::memcpy(uuid, v->super.uuid, sizeof uuid);
        loop.remove_poller(**dev);
      }
      if (status s = undo_->create(options_.undo_file, uuid, (*dev)->size()); !s)
        return refuse(s.error(), fmt::format("repairing {}: the undo file {}: {}", path_,
                                             options_.undo_file, sentence_of(s.error())));
      // A ring belongs to the reactor that it was attached to.
      dev->reset();
      return open();
    }
    return std::make_unique<repair::saving_device>(std::move(*dev), *undo_);
  }

  std::expected<void, error> offline() {
    auto dev = open();
    if (!dev) return std::unexpected(dev.error());
    journal_.allowed = options_.safe_only ? repair::policy::SAFE : repair::policy::ALL;
    journal_.tell = [this](const std::string& where, const std::string& what,
                           const std::string& done) {
      if (options_.tell) options_.tell({where, what, done});
    };
    journal_.keep = [this](repair::lost_record&& r) { lost_whole_ &= lost_.add(r); };
    if (!journal_.losses_saved) journal_.postponed.clear();
    journal_.progress = options_.progress;
    sm::reactor loop(sm::system_environment());
    loop.add_poller(**dev);
    repair::repair_options o;
    o.salvage = options_.salvage;
    std::string why;
    repair::repairer r(loop, **dev, journal_, o);
    result<repair::repair_totals> done = r.run(why);
    loop.remove_poller(**dev);
    if (!done)
      return refuse(done.error(), fmt::format("repairing {}: {}", path_,
                                              why.empty() ? sentence_of(done.error()) : why));
    trees_ = r.trees_found();
    report_.trees = done->trees;
    report_.pages = done->pages;
    report_.pages_written = done->pages_written;
    report_.recovery = done->recovery;
    return {};
  }

  /// Enters trees into the catalogue, and records into lost+found.
  std::expected<void, error> online() {
    auto dev = open();
    if (!dev) return std::unexpected(dev.error());
    store_layer::core_options co;
    co.cache_bytes = options_.cache_bytes;
    auto opened = core::open(sm::system_environment(), std::move(*dev), co, path_);
    if (!opened) return std::unexpected(internal::public_error(opened.error()));
    const std::shared_ptr<core>& c = *opened;
    for (const repair::found_tree& t : trees_)
      if (errc e = enter(*c, t); !is_ok(e))
        return refuse(
            e, fmt::format("repairing {}: entering tree {}: {}", path_, t.name, sentence_of(e)));
    if (!lost_whole_)
      return refuse(errc::device_full,
                    fmt::format("repairing {}: no room for temporary files ($TMPDIR): records that "
                                "are to be saved stay where they are",
                                path_));
    if (journal_.kept != 0)
      if (errc e = fill_lost_and_found(c); !is_ok(e))
        return refuse(e, fmt::format("repairing {}: filling {}: {}", path_, lost_and_found_tree,
                                     sentence_of(e)));
    if (auto closed = c->close(); !closed)
      return std::unexpected(internal::public_error(closed.error()));
    return {};
  }

  static errc run(core& c, sm::op& op) {
    c.loop.start(op);
    if (status s = c.loop.run_until(op); !s) return s.error();
    return op.out.code;
  }

  errc enter(core& c, const repair::found_tree& t) {
    btree::write_op op;
    op.prepare(*c.catalogue, btree::change::PUT, as_bytes(t.name),
               {reinterpret_cast<const std::byte*>(&t.record), sizeof t.record}, nullptr, true);
    const errc e = run(c, op);
    return e == errc::exists ? errc::ok : e;
  }

  errc fill_lost_and_found(const std::shared_ptr<core>& c) {
    auto s = std::make_shared<internal::store_state>();
    s->c = c;
    s->path = path_;
    store st = internal::operation_access::make_store(s);
    tree t;
    answer a = st.run(st.create_tree(lost_and_found_tree, {}, t));
    if (a.what() == category::exists) a = st.run(st.open_tree(lost_and_found_tree, t));
    if (!a.ok()) return static_cast<errc>(a.code);
    lost_.rewind();
    for (repair::lost_record r; lost_.next(r);) {
      std::string key = r.tree + '\0' + r.key, there;
      if (key.size() > st.limits().key_bytes) {
        const std::string hash = fmt::format("{}{:016x}", '\0', hash64(as_bytes(r.key)));
        key = key.substr(0, st.limits().key_bytes - 64) + hash;
      }
      a = st.run(t.get(key, there));
      if (a.ok() && there == r.value) continue;  // by a repair that was cut short
      if (a.ok()) key += '\0' + std::to_string(r.block);
      a = st.run(t.upsert(key, r.value, durability::ordered));
      if (!a.ok()) return static_cast<errc>(a.code);
      ++report_.lost_and_found;
    }
    t = tree();
    auto closed = st.close();  // and durable
    return closed ? errc::ok : static_cast<errc>(closed.error().code);
  }

  const std::string& path_;
  const repair_options& options_;
  repair_report report_;
  repair::journal journal_;
  std::unique_ptr<repair::undo_writer> undo_;
  record_file lost_;
  bool lost_whole_ = true;
  std::vector<repair::found_tree> trees_;
};

}  // namespace

std::expected<repair_report, error> repair_store(const std::string& path,
                                                 const repair_options& options) {
  return session(path, options).run();
}

std::expected<bool, error> is_clean(const std::string& path, device_kind device) {
  io::open_options oo;
  oo.kind = internal::backend_of(device);
  oo.read_only = true;
  auto dev = io::open_device(path, oo, sm::system_environment());
  if (!dev)
    return refuse(dev.error(), fmt::format("opening {}: {}", path, sentence_of(dev.error())));
  sm::reactor loop(sm::system_environment());
  loop.add_poller(**dev);
  result<volume> v = read_volume(loop, **dev);
  loop.remove_poller(**dev);
  if (!v && class_of(v.error()) == error_class::corrupt) return false;
  if (!v) return refuse(v.error(), fmt::format("opening {}: {}", path, sentence_of(v.error())));
  for (const copy_state c : v->copy_states)
    if (c != copy_state::GOOD) return false;
  return v->super.clean_seq != 0;
}

std::expected<undo_report, error> undo_repair(const std::string& undo_file, const std::string& path,
                                              device_kind device) {
  io::open_options oo;
  oo.kind = internal::backend_of(device);
  auto dev = io::open_device(path, oo, sm::system_environment());
  if (!dev)
    return refuse(dev.error(), fmt::format("undoing in {}: {}", path, sentence_of(dev.error())));
  sm::reactor loop(sm::system_environment());
  loop.add_poller(**dev);
  std::string why;
  result<repair::undo_result> done = repair::apply_undo(undo_file, loop, **dev, why);
  loop.remove_poller(**dev);
  if (!done)
    return refuse(done.error(), fmt::format("undoing {} in {}: {}", undo_file, path,
                                            why.empty() ? sentence_of(done.error()) : why));
  return undo_report{done->bytes / block_bytes};
}

}  // namespace pleach
