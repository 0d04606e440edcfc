import PluginInterfaces

/// One thing that `matriarch doctor` looked at.
struct DoctorFinding: Hashable, Sendable {
    /// What it is about, in the order in which findings are shown.
    enum Area: String, CaseIterable, Sendable {
        case configuration, programs, files, secrets, fencing = "guard", api, ports, clock, store, lease
    }

    var area: Area
    var grade: StoreFinding.Grade
    var text: String
    /// What to do about it; nil where nothing is to be done.
    var remedy: String?

    init(_ area: Area, _ grade: StoreFinding.Grade, _ text: String, remedy: String? = nil) {
        self.area = area
        self.grade = grade
        self.text = text
        self.remedy = remedy
    }

    init(_ area: Area, _ finding: StoreFinding) {
        self.init(area, finding.grade, finding.text, remedy: finding.remedy)
    }
}

extension StoreFinding.Grade {
    /// As it is printed.
    var word: String {
        switch self {
        case .fine: "ok"
        case .warning: "warning"
        case .error: "error"
        }
    }
}
