import BuiltInPlugins
import MatriarchMain

@main
struct Main {
    static func main() async {
        await MatriarchMain.run { BuiltInPlugins.register(in: &$0) }
    }
}
