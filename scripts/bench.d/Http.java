/* Http PORT THREADS REQUESTS: so many GETs by HttpURLConnection, each on a connection of its own. */
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URL;

public class Http {
    public static void main(String[] arguments) throws Exception {
        URL url = new URL("http://127.0.0.1:" + arguments[0] + "/");
        int threads = Integer.parseInt(arguments[1]);
        int each = Integer.parseInt(arguments[2]) / threads;
        System.setProperty("http.keepAlive", "false");
        Thread[] list = new Thread[threads];
        for (int i = 0; i < threads; i++) {
            list[i] = new Thread(() -> get(url, each));
            list[i].start();
        }
        for (Thread thread : list) {
            thread.join();
        }
    }

    private static void get(URL url, int times) {
        try {
            for (int i = 0; i < times; i++) {
                HttpURLConnection connection = (HttpURLConnection) url.openConnection();
                try (InputStream body = connection.getInputStream()) {
                    body.readAllBytes();
                }
            }
        } catch (java.io.IOException error) {
            System.err.println(error);
            System.exit(1);
        }
    }
}
