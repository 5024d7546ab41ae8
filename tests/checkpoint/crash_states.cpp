#include "crash_states.h"

#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <stdexcept>

#include "lockstep/base/file.h"

namespace lockstep::test {

namespace fs = std::filesystem;

namespace {

// What has become of bytes that were written but not synced.
enum Unsynced { kLost, kThere, kHalf, kZero, kModes };

std::string content(const std::string& durable, const std::string& newest, int mode) {
  const std::size_t added = newest.size() - std::min(durable.size(), newest.size());
  switch (mode) {
    case kThere:
      return newest;
    case kHalf:
      return newest.substr(0, newest.size() - added / 2);
    case kZero:
      return newest.substr(0, newest.size() - added) + std::string(added, '\0');
    default:
      return durable;
  }
}

}  // namespace

DiskModel::DiskModel(const fs::path& root) : root_(root.string()) { load(root); }

int DiskModel::make(bool directory) {
  nodes_.push_back({.directory = directory, .durable = {}, .newest = {}, .entries = {}});
  return static_cast<int>(nodes_.size()) - 1;
}

int DiskModel::load(const fs::path& path) {
  const int node = make(fs::is_directory(path));
  if (!nodes_[static_cast<std::size_t>(node)].directory) {
    Node& file = nodes_[static_cast<std::size_t>(node)];
    file.durable = file.newest = read_text_file(path);
    return node;
  }
  for (const auto& entry : fs::directory_iterator(path)) {
    const int child = load(entry.path());
    nodes_[static_cast<std::size_t>(node)].entries[entry.path().filename().string()] = child;
  }
  return node;
}

std::map<std::string, int> DiskModel::entries_of(int directory) const {
  auto entries = nodes_[static_cast<std::size_t>(directory)].entries;
  for (const Change& change : pending_) {
    if (change.directory != directory) continue;
    for (const auto& [name, node] : change.names) {
      if (node < 0) {
        entries.erase(name);
      } else {
        entries[name] = node;
      }
    }
  }
  return entries;
}

std::string DiskModel::relative(const std::string& path) const {
  return path.size() > root_.size() ? path.substr(root_.size() + 1) : "";
}

int DiskModel::find(const std::string& path) const {
  int node = 0;
  for (const fs::path& part : fs::path(path)) {
    const auto entries = entries_of(node);
    const auto found = entries.find(part.string());
    if (found == entries.end()) return -1;
    node = found->second;
  }
  return node;
}

std::pair<int, std::string> DiskModel::parent_of(const std::string& path) const {
  const fs::path whole(path);
  return {find(whole.parent_path().string()), whole.filename().string()};
}

void DiskModel::apply(const std::string& call, const std::string& written) {
  std::istringstream words(call);
  std::string verb, from, to;
  words >> verb >> from >> to;
  if (!from.starts_with(root_)) return;
  const std::string path = relative(from);
  const int node = find(path);
  const auto [parent, name] = parent_of(path);
  if (verb == "mkdir" || verb == "create") {
    if (node >= 0 && verb == "create") {
      nodes_[static_cast<std::size_t>(node)].newest.clear();  // O_TRUNC
    } else if (node < 0) {
      pending_.push_back({parent, {{name, make(verb == "mkdir")}}});
    }
  } else if (verb == "write") {
    nodes_[static_cast<std::size_t>(node)].newest += written;
  } else if (verb == "fsync" || verb == "fdatasync") {
    Node& synced = nodes_[static_cast<std::size_t>(node)];
    synced.durable = synced.newest;
    if (!synced.directory) return;
    synced.entries = entries_of(node);
    std::erase_if(pending_, [&](const Change& change) { return change.directory == node; });
  } else if (verb == "rename") {
    const auto [parent_to, name_to] = parent_of(relative(to));
    if (parent_to != parent) throw std::runtime_error(call + ": between two directories");
    pending_.push_back({parent, {{name, -1}, {name_to, node}}});
  } else if (verb == "remove") {
    // rmdir is tried on a path that turns out to be a file, and fails.
    if (node >= 0) pending_.push_back({parent, {{name, -1}}});
  } else {
    throw std::runtime_error(call + ": not part of the model");
  }
}

void DiskModel::list(int node, const std::string& path,
                     const std::vector<std::map<std::string, int>>& entries, int mode,
                     Tree& tree) const {
  const Node& here = nodes_[static_cast<std::size_t>(node)];
  if (!here.directory) {
    tree[path] = content(here.durable, here.newest, mode);
    return;
  }
  if (!path.empty()) tree[path + '/'] = "";
  for (const auto& [name, child] : entries[static_cast<std::size_t>(node)]) {
    list(child, path.empty() ? name : path + '/' + name, entries, mode, tree);
  }
}

void DiskModel::for_each_state(const std::function<void(const Tree&)>& visit) const {
  constexpr std::size_t kMostChanges = 12;  // 4096 subsets
  if (pending_.size() > kMostChanges) throw std::runtime_error("too many changes without an fsync");
  std::set<Tree> seen;
  for (unsigned subset = 0; subset < 1U << pending_.size(); ++subset) {
    std::vector<std::map<std::string, int>> entries;
    for (const Node& node : nodes_) entries.push_back(node.entries);
    for (std::size_t i = 0; i < pending_.size(); ++i) {
      if ((subset >> i & 1) == 0) continue;
      for (const auto& [name, node] : pending_[i].names) {
        auto& directory = entries[static_cast<std::size_t>(pending_[i].directory)];
        if (node < 0) {
          directory.erase(name);
        } else {
          directory[name] = node;
        }
      }
    }
    for (int mode = 0; mode < kModes; ++mode) {
      Tree tree;
      list(0, "", entries, mode, tree);
      if (seen.insert(tree).second) visit(tree);
    }
  }
}

void materialise(const DiskModel::Tree& tree, const fs::path& root) {
  for (const auto& [path, bytes] : tree) {  // in order: a directory before what is in it
    if (path.ends_with('/')) {
      fs::create_directories(root / path);
    } else {
      std::ofstream(root / path, std::ios::binary) << bytes;
    }
  }
}

}  // namespace lockstep::test
