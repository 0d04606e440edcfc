import ClusterModel
import HighAvailability
import PluginInterfaces

let serverVersion = matriarchVersion
let contractVersion = advertisedVersion

/// The `Date` header: `Sun, 06 Nov 1994 08:49:37 GMT`.
enum HTTPDate {
    static func text(_ time: WallTime = SystemClock.wallTime()) -> String {
        let iso = Array(time.iso8601(fractionDigits: 0, zone: ""))
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        let weekdays = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
        let days = Int(time.seconds / 86_400)
        guard iso.count == 19, let month = Int(String(iso[5...6])), days >= 0 else { return "" }
        return "\(weekdays[days % 7]), \(String(iso[8...9])) \(months[month - 1]) \(String(iso[0...3])) "
            + "\(String(iso[11...])) GMT"
    }
}
